from __future__ import annotations

import pytest

from fiqa.measures import OFIQ_MEASURES
from fiqa_worker.pipeline.scalars import SCALARS

# Native values and their scalars as OFIQ publishes them for its test images. It does not round the scalars of
# DynamicRange. Those of OverExposurePrevention are of an older formula, so its values are computed by hand.
PUBLISHED: dict[str, list[tuple[float, float]]] = {
    "HeadPoseYaw": [(2.582642, 100), (7.966364, 98), (4.255126, 99)],
    "HeadPosePitch": [(-1.180704, 100), (-7.258156, 98), (-13.81824, 94), (-16.617661, 92), (-10.251065, 97)],
    "HeadPoseRoll": [(-16.291553, 92), (-1.776166, 100), (-6.058564, 99), (27.373343, 79)],
    "InterEyeDistance": [(446.656552, 100)],
    "LeftwardCropOfTheFaceImage": [(3.608224, 100)],
    "RightwardCropOfTheFaceImage": [(4.119203, 100)],
    "MarginAboveOfTheFaceImage": [(2.399331, 100), (1.91388, 99), (1.742159, 97), (1.545541, 81)],
    "MarginBelowOfTheFaceImage": [(2.363891, 100), (1.726251, 32)],
    "HeadSize": [(0.209942, 2), (0.186088, 1), (0.248892, 4), (0.238354, 3), (0.134832, 0)],
    "SingleFacePresent": [(0.0, 100), (0.720493, 28)],
    "LuminanceMean": [(0.299041, 88), (0.498524, 100), (0.286139, 85), (0.250659, 73), (0.189643, 45), (0.103973, 13)],
    "LuminanceVariance": [(0.014153, 99), (0.05964, 63), (0.024687, 95), (0.028277, 92), (0.010268, 93)],
    "UnderExposurePrevention": [(0.055414, 100), (0.35196, 100)],
    "OverExposurePrevention": [(0.0, 100), (0.01, 50), (0.09, 10), (1.0, 1)],
    "DynamicRange": [(6.88316, 86.039498), (7.607157, 95.089458), (5.560847, 69.510584)],
    "IlluminationUniformity": [(0.166955, 58), (0.510381, 82), (0.020761, 31), (0.149691, 57), (0.029412, 35)],
    "NaturalColour": [(0.188451, 99), (3.299769, 84), (4.809711, 76), (0.0, 100), (100.0, 0)],
}


@pytest.mark.parametrize("name", OFIQ_MEASURES)
def test_the_scalars_of_published_values_are_the_published_ones(name: str) -> None:
    for native, scalar in PUBLISHED[name]:
        assert SCALARS[name](native) == round(scalar)


@pytest.mark.parametrize("name", OFIQ_MEASURES)
def test_a_scalar_is_an_integer_from_0_to_100(name: str) -> None:
    for native in (0.0, 1e-9, 0.5, 1.0, 8.0, 90.0, 180.0):
        scalar = SCALARS[name](native)
        assert isinstance(scalar, int)
        assert 0 <= scalar <= 100


def test_halves_are_rounded_away_from_zero() -> None:
    assert SCALARS["SingleFacePresent"](0.375) == 63  # 62.5
    assert SCALARS["SingleFacePresent"](0.385) == 62  # 61.5
