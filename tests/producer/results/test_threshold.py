from __future__ import annotations

import random

import pytest

from fiqa.results.ranking import Scores
from fiqa.results.threshold import Thresholds
from tests.producer.results.pages import result


def scores(*qualities: tuple[float, ...]) -> Scores:
    found = Scores()
    for each in qualities:
        found.add(result("s3://b/1", *each))
    return found


def test_what_passes_is_counted_at_each_threshold() -> None:
    dice = random.Random(3)  # noqa: S311  no secret
    images = [(round(dice.random(), 3), round(dice.random(), 3)) for _ in range(200)]
    found = Thresholds.of({1: scores(*images)})
    passing = found.inputs[1]
    assert len(passing.images) == found.grid.number + 1
    for number in range(found.grid.number + 1):
        least = round(found.grid.edge(number), 6)
        assert passing.images[number] == sum(first >= least for first, _ in images)
        assert passing.faces[number] == sum(quality >= least for image in images for quality in image)


def test_the_first_threshold_drops_the_worst_tenth() -> None:
    found = Thresholds.of({0: scores(*((n / 1000,) for n in range(1000)))})
    assert found.inputs[0].images[found.start] == 900


@pytest.mark.parametrize("qualities", [(0.5,), (0.0, 0.0), (-3.0, 20.0), (1e308, -1e308), (1e-5, 1.1e-5)], ids=str)
def test_thresholds_fit_scores_of_any_size(qualities: tuple[float, ...]) -> None:
    found = Thresholds.of({0: scores(*((quality,) for quality in qualities))})
    assert found.inputs[0].images[0] == len(qualities)
    assert found.inputs[0].images[-1] == 0
    assert 0 <= found.start < found.grid.number
    assert len(found.rows) <= 12
    assert 0 <= found.digits < 20
