"""OFIQ's mappings from the native value of a measure to an integer from 0 to 100. Higher is better.

The formulas are OFIQ's, the reference software of ISO/IEC 29794-5. OFIQ publishes native values and scalars of its test
images. The formulas give the published scalars for the published native values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final


def _sigmoid(x: float, center: float, width: float) -> float:
    return (1 + math.tanh((x - center) / width / 2)) / 2  # never overflows


def _clipped(x: float) -> int:
    """Round half away from zero, as C does, and clip."""
    return max(0, min(100, math.floor(x + 0.5)))


def _rising(center: float, width: float) -> Callable[[float], int]:
    return lambda x: _clipped(100 * _sigmoid(x, center, width))


def _angle(degrees: float) -> int:
    return _clipped(100 * max(0.0, math.cos(math.radians(degrees))) ** 2)


def _head_size(share: float) -> int:
    return _clipped(200 * (1 - _sigmoid(abs(share - 0.45), 0, 0.05)))


def _luminance_mean(mean: float) -> int:
    return _clipped(100 * _sigmoid(mean, 0.2, 0.05) * (1 - _sigmoid(mean, 0.8, 0.05)))


def _luminance_variance(variance: float) -> int:
    return _clipped(100 * math.sin(60 * variance / (60 * variance + 1) * math.pi))


SCALARS: Final[Mapping[str, Callable[[float], int]]] = {
    "HeadPoseYaw": _angle,
    "HeadPosePitch": _angle,
    "HeadPoseRoll": _angle,
    "InterEyeDistance": _rising(70, 20),
    "LeftwardCropOfTheFaceImage": _rising(0.9, 0.1),
    "RightwardCropOfTheFaceImage": _rising(0.9, 0.1),
    "MarginAboveOfTheFaceImage": _rising(1.4, 0.1),
    "MarginBelowOfTheFaceImage": _rising(1.8, 0.1),
    "HeadSize": _head_size,
    "SingleFacePresent": lambda share: _clipped(100 * (1 - share)),
    "LuminanceMean": _luminance_mean,
    "LuminanceVariance": _luminance_variance,
    "UnderExposurePrevention": lambda share: _clipped(120 * (0.832 - _sigmoid(share, 0.92, 0.05))),
    "OverExposurePrevention": lambda share: _clipped(1 / (share + 0.01)),
    "DynamicRange": lambda bits: _clipped(12.5 * bits),
    "IlluminationUniformity": lambda overlap: _clipped(100 * overlap**0.3),
    "NaturalColour": lambda distance: _clipped(200 * (1 - _sigmoid(distance, 0, 10))),
}
