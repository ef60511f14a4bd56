from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from fiqa.errors import UsageError
from fiqa.results.figure import COLORS, figure
from fiqa.results.tally import Tally, tally
from tests.producer.results.pages import result


def inputs(number: int) -> list[Tally]:
    return [
        tally([result(f"s3://b/{n}", n / 100 / (1 + place)) for n in range(100)], f"input <{place}> $x_1$ \u4eba")
        for place in range(number)
    ]


@pytest.mark.parametrize("number", [1, 2, 6])
def test_a_figure_shows_every_input_in_its_color(number: int) -> None:
    with Image.open(io.BytesIO(figure(inputs(number), "png"))) as image:
        pixels = image.convert("RGB").tobytes()
    colors = {f"#{bytes(pixel).hex()}" for pixel in set(zip(*[iter(pixels)] * 3, strict=True))}
    assert set(COLORS) & colors == set(COLORS[:number])


def test_an_svg_names_every_input_as_text() -> None:
    root = ET.fromstring(figure(inputs(2), "svg"))  # noqa: S314  it was made in the line above
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for place in range(2):
        assert any(f"input <{place}> $x_1$ \u4eba: 100 images with a face" in text for text in texts)
    assert "Share of images that pass a threshold" in texts
    assert sum(text.startswith("Quality by ") for text in texts) == 2  # each chart names the model


def test_the_same_results_give_the_same_file() -> None:
    assert figure(inputs(1), "svg") == figure(inputs(1), "svg")


def test_a_figure_of_two_models_or_of_no_face_is_refused() -> None:
    two = [tally([result("s3://b/1", 0.5, model=model)], model) for model in ("first", "second")]
    with pytest.raises(UsageError, match="one quality model, and 2 quality models scored these images"):
        figure(two, "png")
    with pytest.raises(UsageError, match="no image has a face"):
        figure([tally([result("s3://b/1")], "none")], "png")
