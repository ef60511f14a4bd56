"""Each measure moves one way when its cause grows, on the package's own portrait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa.measures import MEASURES, OFIQ_MEASURES, SCALAR
from fiqa_worker.pipeline.measures import Measures
from fiqa_worker.pipeline.scalars import SCALARS
from tests.worker.pipeline.faces import FaceImage, portrait_face, turned_points

FACE = portrait_face()


def values(series: Sequence[FaceImage], name: str) -> list[float]:
    found = [face.measured()[name] for face in series]
    assert None not in found
    return [float(value) for value in found if value is not None]


def rises(numbers: Sequence[float]) -> bool:
    return all(one < other for one, other in pairwise(numbers))


def test_a_good_portrait_has_every_measure() -> None:
    measured = FACE.measured()
    assert tuple(measured) == MEASURES
    assert None not in measured.values()
    assert measured["face_px"] == 115.25
    for name in OFIQ_MEASURES:
        native = measured[name]
        assert native is not None
        assert measured[name + SCALAR] == SCALARS[name](native)
    for name in ("HeadPoseYaw", "HeadPosePitch", "HeadPoseRoll"):
        assert abs(measured[name] or 0) < 5
    for name in ("LuminanceMean", "UnderExposurePrevention", "OverExposurePrevention", "NaturalColour"):
        assert (measured[name + SCALAR] or 0) > 90


def test_blur_lowers_the_variance_of_the_laplacian() -> None:
    assert rises(values([FACE.blurred(sigma) for sigma in (5, 3, 2, 1, 0)], "laplacian_variance"))


def test_the_background_of_a_face_does_not_make_it_sharp() -> None:
    soft = FACE.blurred(4)
    x, y, width, height = FACE.box.astype(int)
    outside = np.ones(FACE.pixels.shape[:2], bool)
    outside[y - 20 : y + height + 20, x - 20 : x + width + 20] = False
    noise = np.random.default_rng(0).integers(0, 256, FACE.pixels.shape, np.uint8)
    before = replace(soft, pixels=np.where(outside[..., np.newaxis], noise, soft.pixels))
    assert before.measured()["laplacian_variance"] == soft.measured()["laplacian_variance"]


def test_less_light_lowers_luminance_and_raises_underexposure() -> None:
    series = [FACE.exposed(factor) for factor in (0.05, 0.1, 0.3, 0.6, 1)]
    assert rises(values(series, "LuminanceMean"))
    assert rises(values(series, "LuminanceMean.scalar")[1:])
    assert rises([-share for share in values(series, "UnderExposurePrevention")][2:])
    assert rises(values(series, "DynamicRange"))


def test_more_light_raises_luminance_and_overexposure() -> None:
    series = [FACE.exposed(factor) for factor in (1, 1.3, 1.6, 2, 3)]
    assert rises(values(series, "LuminanceMean"))
    assert rises(values(series, "OverExposurePrevention"))


def test_light_from_the_side_lowers_what_the_cheeks_have_in_common() -> None:
    series = [FACE.lit_from_the_side(loss) for loss in (0.3, 0.2, 0.1, 0)]
    assert rises(values(series, "IlluminationUniformity"))
    assert values([FACE.lit_from_the_side(0.6)], "IlluminationUniformity") == [0]


def test_a_blue_cast_is_far_from_skin() -> None:
    series = [replace(FACE, pixels=(FACE.pixels * (1, 1, red)).astype(np.uint8)) for red in (1, 0.8, 0.6, 0.4)]
    distances = values(series, "NaturalColour")
    assert distances == sorted(distances)
    assert distances[0] == 0
    assert distances[-1] == 100


def test_yaw_and_pitch_are_those_of_points_that_are_turned_in_space() -> None:
    angles = (-60, -30, 0, 30, 60)
    for name, turned in {
        "HeadPoseYaw": [turned_points(angle, 0, 0) for angle in angles],
        "HeadPosePitch": [turned_points(0, angle, 0) for angle in angles],
    }.items():
        series = [replace(FACE, landmarks=points) for points in turned]
        assert values(series, name) == pytest.approx(angles, abs=0.1)
        assert values(series, name + SCALAR) == [25, 75, 100, 75, 25]


def test_the_distance_between_the_eyes_does_not_depend_on_yaw() -> None:
    series = [replace(FACE, landmarks=turned_points(yaw, 0, 0)) for yaw in (-50, 0, 30)]
    assert values(series, "InterEyeDistance") == pytest.approx([126] * 3, rel=0.01)


def test_roll_is_the_angle_by_which_the_image_is_turned_and_moves_no_other_angle() -> None:
    angles = (-170, -90, -40, 0, 20, 90, 179)
    series = [FACE.rolled(angle) for angle in angles]
    upright = values([FACE], "HeadPoseRoll")[0]
    assert values(series, "HeadPoseRoll") == pytest.approx([angle + upright for angle in angles], abs=0.3)
    assert values(series, "HeadPoseYaw") == pytest.approx(values([FACE], "HeadPoseYaw") * len(angles), abs=0.5)


def test_size_is_in_pixels() -> None:
    factors = (0.2, 0.5, 1)
    series = [FACE.scaled(factor) for factor in factors]
    assert values(series, "face_px") == pytest.approx([115.25 * factor for factor in factors], abs=0.01)
    assert values(series, "InterEyeDistance") == pytest.approx([43.2 * factor for factor in factors], abs=0.2)
    assert rises(values(series, "InterEyeDistance.scalar"))
    assert values(series, "HeadSize") == pytest.approx([0.147] * 3, abs=0.001)


@pytest.mark.parametrize(
    ("name", "side", "most"),
    [
        ("LeftwardCropOfTheFaceImage", "left", 200),
        ("MarginAboveOfTheFaceImage", "top", 100),
        ("RightwardCropOfTheFaceImage", "right", 260),
        ("MarginBelowOfTheFaceImage", "bottom", 400),
    ],
)
def test_a_crop_at_one_side_lowers_its_measure_alone(name: str, side: str, most: int) -> None:
    series = [FACE.cropped(**{side: most * share // 4}) for share in range(4, -1, -1)]
    assert rises(values(series, name))
    scalars = values(series, name + SCALAR)
    assert scalars == sorted(scalars)
    for other in ("LeftwardCropOfTheFaceImage", "RightwardCropOfTheFaceImage", "MarginAboveOfTheFaceImage"):
        if other != name:
            assert len(set(values(series, other))) == 1


def test_a_tight_crop_raises_the_head_size() -> None:
    assert rises(values([FACE.cropped(bottom=rows) for rows in (0, 100, 200, 300)], "HeadSize"))


def test_another_face_counts_by_its_area() -> None:
    own = float(FACE.box[2] * FACE.box[3])
    shares = [FACE.measured(other_area=share * own)["SingleFacePresent"] for share in (0, 0.25, 1, 3)]
    assert shares == pytest.approx([0, 0.25, 1, 1], abs=1e-4)


def test_what_lies_outside_of_the_image_does_not_count() -> None:
    # The lower third of the face, and with it the cheeks.
    cut = FACE.cropped(bottom=512 - 118)
    measured, whole = cut.measured(), FACE.measured()
    assert measured["IlluminationUniformity"] is None
    assert measured["NaturalColour.scalar"] is None
    assert measured["UnderExposurePrevention"] == pytest.approx(whole["UnderExposurePrevention"], abs=0.05)
    # The black outside would make the edge the sharpest part of the face.
    cut_again = replace(cut.blurred(4)).measured()
    assert (cut_again["laplacian_variance"] or 99) < 10


NOWHERE = [
    np.zeros((5, 2)),
    np.full((5, 2), 300.0),
    FACE.landmarks - 9000,
    FACE.landmarks * 1e6,
    FACE.landmarks * 1e-4,
    FACE.landmarks * 1e-9,
]


@pytest.mark.parametrize("landmarks", NOWHERE)
def test_landmarks_that_are_not_a_face_have_measures_too(landmarks: NDArray[np.float64]) -> None:
    measured: Measures = replace(FACE, landmarks=landmarks.astype(np.float32)).measured()
    assert tuple(measured) == MEASURES
    assert all(value is None or np.isfinite(value) for value in measured.values())
