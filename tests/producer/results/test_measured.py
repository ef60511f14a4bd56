from __future__ import annotations

from fiqa.contract import Face, Reason
from fiqa.results.measured import Measured
from fiqa.results.page import render
from fiqa.results.tally import tally
from tests.producer.results.pages import Page, result


def measured(quality: float, yaw: float, *reasons: Reason) -> Face:
    (plain,) = result("s3://b/1", quality).faces
    values: dict[str, float | int | None] = {"HeadPoseYaw": yaw, "HeadPoseYaw.scalar": 75, "NaturalColour": None}
    return plain.model_copy(update={"measures": {**values, "newer": 1.0}, "reasons": reasons})


def test_measures_and_reasons_of_faces_are_counted() -> None:
    found = Measured()
    for number in range(1, 101):
        why = (Reason.BLURRED, Reason.TILTED)[: number % 3]
        found.add(measured(0.5, number, *why, Reason("newer_reason")))
    found.add(result("s3://b/1", 0.5).faces[0])
    assert found.faces == 100
    assert found.reasons == {Reason.BLURRED: 67, Reason.TILTED: 33}
    (row,) = found.rows
    assert (row.name, row.quantiles, row.scalar, row.faces) == ("HeadPoseYaw", (5, 50, 95), 75, 100)


def test_a_page_shows_measures_and_reasons_only_if_there_are_any() -> None:
    plain = result("s3://b/1", 0.9)
    assert "Reasons" not in Page(render([tally([plain], "one")])).text
    poor = plain.model_copy(update={"faces": (measured(0.2, -40, Reason.TURNED_AWAY, Reason.BLURRED),)})
    text = Page(render([tally([plain, poor], "one")])).text
    assert "turned_away 1 100 %" in text
    assert "too_small 0 0 %" in text
    assert "HeadPoseYaw -40 -40 -40 75 1 " in text
    assert "s3://b/1 turned_away, blurred" in text
    both = Page(render([tally([plain], "one"), tally([poor], "two")])).text
    assert "turned_away - 1 100 %" in both
    assert "Measures: two" in both
