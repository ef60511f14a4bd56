"""If a damage is strong, it gets its reason, and no other reason. The undamaged portrait gets no reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fiqa.contract import Reason
from fiqa_worker.pipeline.reasons import reasons
from tests.worker.pipeline.faces import FaceImage, portrait_face, turned_points

FACE = portrait_face()
FRAMED = FACE.scaled(2)
TURNED = {
    kind: [replace(FRAMED, landmarks=turned_points(*(angle * axis for axis in axes))) for angle in (0, 15, 50)]
    for kind, axes in {
        "yaw": (1, 0, 0),
        "other yaw": (-1, 0, 0),
        "pitch": (0, 0.6, 0),
        "other pitch": (0, -0.6, 0),
    }.items()
}


def why(face: FaceImage, other_area: float = 0.0) -> tuple[Reason, ...]:
    return reasons(face.measured(other_area), face.landmarks, *face.size)


@pytest.mark.parametrize(
    ("reason", "series"),
    [
        pytest.param(Reason.TOO_SMALL, [FACE.scaled(factor) for factor in (1, 0.5, 0.3)], id="small"),
        pytest.param(Reason.BLURRED, [FACE.blurred(sigma) for sigma in (0, 1, 3)], id="blurred"),
        pytest.param(Reason.BLURRED, [FACE.exposed(0.4).blurred(sigma) for sigma in (0, 0.5, 3)], id="dim and blurred"),
        pytest.param(Reason.TILTED, [FACE.rolled(degrees) for degrees in (0, 5, 30)], id="to the right shoulder"),
        pytest.param(Reason.TILTED, [FACE.rolled(degrees) for degrees in (0, -5, -90)], id="to the left shoulder"),
        pytest.param(Reason.TOO_DARK, [FACE.exposed(factor) for factor in (1, 0.5, 0.1)], id="dark"),
        pytest.param(Reason.TOO_BRIGHT, [FACE.exposed(factor) for factor in (1, 1.1, 2.5)], id="bright"),
        pytest.param(Reason.UNEVEN_LIGHT, [FACE.lit_from_the_side(loss) for loss in (0, 0.1, 0.7)], id="side light"),
        pytest.param(Reason.CUT_OFF, [FACE.cropped(left=columns) for columns in (0, 150, 195)], id="cut off, left"),
        pytest.param(Reason.CUT_OFF, [FACE.cropped(top=rows) for rows in (0, 30, 80)], id="cut off, top"),
        pytest.param(Reason.CUT_OFF, [FACE.cropped(right=columns) for columns in (0, 200, 260)], id="cut off, right"),
        pytest.param(Reason.CUT_OFF, [FACE.cropped(bottom=rows) for rows in (0, 300, 360)], id="cut off, bottom"),
    ],
)
def test_a_strong_damage_gets_its_reason_and_a_slight_one_does_not(reason: Reason, series: list[FaceImage]) -> None:
    assert [why(face) for face in series] == [(), (), (reason,)]


@pytest.mark.parametrize("series", TURNED.values(), ids=TURNED)
def test_a_head_that_is_turned_far_is_turned_away(series: list[FaceImage]) -> None:
    assert [Reason.TURNED_AWAY in why(face) for face in series] == [False, False, True]


def test_another_large_face_is_a_reason_and_a_small_one_is_not() -> None:
    own = float(FACE.box[2] * FACE.box[3])
    assert [why(FACE, other_area=share * own) for share in (0.2, 0.5)] == [(), (Reason.SEVERAL_FACES,)]


def test_a_dark_face_is_not_blurred_because_it_is_dark() -> None:
    dark = FACE.exposed(0.15)
    assert (dark.measured()["laplacian_variance"] or 0) < 30
    assert why(dark) == (Reason.TOO_DARK,)


def test_a_face_in_a_turned_image_is_not_cut_off_because_it_is_turned() -> None:
    face = FACE.cropped(left=150, top=60, right=215, bottom=310)
    assert why(face) == ()
    for _ in range(3):  # a quarter each, clockwise
        x, y = face.landmarks.T
        turned = np.ascontiguousarray(np.rot90(face.pixels, -1))
        face = replace(face, pixels=turned, landmarks=np.stack([face.size[1] - 1 - y, x], axis=1))
        assert why(face) == (Reason.TILTED,)


def test_several_reasons_come_in_the_order_of_their_names() -> None:
    bad = FACE.blurred(4).rolled(-40).cropped(top=90)
    assert why(bad, other_area=1e6) == (Reason.BLURRED, Reason.TILTED, Reason.CUT_OFF, Reason.SEVERAL_FACES)
