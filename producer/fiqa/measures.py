"""The names of the measures of a face. docs/measures.md explains each."""

from __future__ import annotations

from typing import Final

SCALAR: Final = ".scalar"

# OFIQ's names. Each has a native value, and under `name.scalar` an integer from 0 to 100.
OFIQ_MEASURES: Final = (
    "HeadPoseYaw",
    "HeadPosePitch",
    "HeadPoseRoll",
    "InterEyeDistance",
    "LeftwardCropOfTheFaceImage",
    "RightwardCropOfTheFaceImage",
    "MarginAboveOfTheFaceImage",
    "MarginBelowOfTheFaceImage",
    "HeadSize",
    "SingleFacePresent",
    "LuminanceMean",
    "LuminanceVariance",
    "UnderExposurePrevention",
    "OverExposurePrevention",
    "DynamicRange",
    "IlluminationUniformity",
    "NaturalColour",
)
OWN_MEASURES: Final = ("face_px", "laplacian_variance")

# All names under which `measures` of a face has a value, in the order of the columns of CSV and Parquet.
MEASURES: Final = (*OWN_MEASURES, *(column for name in OFIQ_MEASURES for column in (name, name + SCALAR)))
