from __future__ import annotations

import io

import pytest
from PIL import Image

from fiqa.errors import UsageError
from fiqa.results.drawing import Drawing, Line
from fiqa.results.figure import COLORS, figure, figure_svg
from fiqa.results.tally import Tally, tally
from fiqa_worker.paint import png
from tests.producer.results.pages import result


def inputs(number: int) -> list[Tally]:
    return [
        tally([result(f"s3://b/{n}", n / 100 / (1 + place)) for n in range(100)], f"input <{place}>")
        for place in range(number)
    ]


def painted(drawing: Drawing) -> Image.Image:
    image = Image.open(io.BytesIO(png(drawing)))
    image.load()
    return image


@pytest.mark.parametrize("number", [1, 2, 6])
def test_a_figure_shows_every_input_in_its_color(number: int) -> None:
    drawing = figure(inputs(number))
    image = painted(drawing)
    assert image.size == (round(2 * drawing.width), round(2 * drawing.height))
    colors = {f"#{bytes(pixel).hex()}" for pixel in set(zip(*[iter(image.tobytes())] * 3, strict=True))}
    assert set(COLORS) & colors == set(COLORS[:number])
    text = figure_svg(drawing).decode()
    assert all(f"input &lt;{place}&gt;: 100 images with a face" in text for place in range(number))
    assert "class=" not in text
    assert text.startswith('<svg viewBox="0 0 ')
    assert 'xmlns="http://www.w3.org/2000/svg"' in text


def test_a_dashed_line_is_drawn_in_pieces() -> None:
    solid, dashed = (
        painted(Drawing(200, 20, (Line("line", [(0, 10), (90, 10), (200, 10)], color),))).convert("L").tobytes()
        for color in (0, 1)
    )
    dark = [sum(value < 250 for value in each) for each in (solid, dashed)]
    assert 0.6 < dark[1] / dark[0] < 0.8  # of each ten units seven are drawn


def test_a_figure_of_two_models_or_of_no_face_is_refused() -> None:
    two = [tally([result("s3://b/1", 0.5, model=model)], model) for model in ("first", "second")]
    with pytest.raises(UsageError, match="one quality model, and 2 quality models scored these images"):
        figure(two)
    with pytest.raises(UsageError, match="no image has a face"):
        figure([tally([result("s3://b/1")], "none")])
