"""The measures of a face: those of OFIQ, under OFIQ's names, and two of fiqa, size and sharpness.

OFIQ is the reference software of ISO/IEC 29794-5. OFIQ uses several networks. This module has the measures that need no
network. docs/measures.md explains each measure, and how it differs from OFIQ's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from fiqa.measures import MEASURES, SCALAR
from fiqa_worker.pipeline.head_pose import head_pose
from fiqa_worker.pipeline.light import light
from fiqa_worker.pipeline.scalars import SCALARS

# The distance from the middle between the eyes to the chin, as a multiple of the distance to the middle of the mouth.
# In 360 images of Labeled Faces in the Wild the lower edge of YuNet's box, the chin, lies at 1.72 to 1.85 (10 to 90 %).
CHIN: Final = 1.78

# The significant decimals. Scalars are computed from the rounded values, so that a reader can compute them again.
_DECIMALS: Final = {
    "face_px": 2,
    "laplacian_variance": 1,
    "HeadPoseYaw": 1,
    "HeadPosePitch": 1,
    "HeadPoseRoll": 1,
    "InterEyeDistance": 2,
    "LeftwardCropOfTheFaceImage": 3,
    "RightwardCropOfTheFaceImage": 3,
    "MarginAboveOfTheFaceImage": 3,
    "MarginBelowOfTheFaceImage": 3,
    "HeadSize": 4,
    "SingleFacePresent": 4,
    "LuminanceMean": 4,
    "LuminanceVariance": 5,
    "UnderExposurePrevention": 4,
    "OverExposurePrevention": 4,
    "DynamicRange": 3,
    "IlluminationUniformity": 4,
    "NaturalColour": 2,
}

_WRITTEN: Final = {name: (decimals, name + SCALAR, SCALARS.get(name)) for name, decimals in _DECIMALS.items()}

Measures = dict[str, float | int | None]


def measure(
    box: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    *,
    width: int,
    height: int,
    other_area: float,
    pixels: NDArray[np.uint8],
    crop: NDArray[np.uint8],
    matrix: MatLike,
) -> Measures:
    """Measure one face of an image.

    Args:
        box: x, y, width, height in pixels of the image.
        landmarks: 5 x 2 pixels of the image, in YuNet's order.
        width: the width of the image, in pixels.
        height: the height of the image, in pixels.
        other_area: the area of the largest other box in the image, in square pixels. 0 if there is no other face.
        pixels: H x W x 3, BGR: the image, or a smaller copy of it.
        crop: 112 x 112 x 3, BGR: the aligned face.
        matrix: 2 x 3, the similarity from `pixels` to the crop.

    Returns:
        A value under each name of MEASURES; None if it cannot be measured.
    """
    measured: Measures = dict.fromkeys(MEASURES)
    natives = [
        *_shape(landmarks, width, height),
        ("face_px", float(box[2:].max())),
        ("SingleFacePresent", min(1.0, other_area / max(float(box[2] * box[3]), 1e-9))),
        *light(pixels, crop, matrix),
    ]
    for name, native in natives:
        decimals, scalar_name, scalar = _WRITTEN[name]
        value = measured[name] = round(native, decimals)
        if scalar:
            measured[scalar_name] = scalar(value)
    return measured


def _shape(landmarks: NDArray[np.float32], width: int, height: int) -> Iterator[tuple[str, float]]:
    """Yield the measures that need only the five landmarks: pose, size, and place in the image."""
    (right_x, right_y), (left_x, left_y), _, (right_mouth_x, right_mouth_y), (left_mouth_x, left_mouth_y) = (
        landmarks.tolist()
    )
    between_eyes = math.hypot(left_x - right_x, left_y - right_y)
    eye_x, eye_y = (right_x + left_x) / 2, (right_y + left_y) / 2
    mouth_x, mouth_y = (right_mouth_x + left_mouth_x) / 2, (right_mouth_y + left_mouth_y) / 2
    to_chin = CHIN * math.hypot(mouth_x - eye_x, mouth_y - eye_y)
    pose = head_pose(landmarks)
    if pose is None or not between_eyes or not to_chin:
        return
    yield "HeadPoseYaw", pose.yaw
    yield "HeadPosePitch", pose.pitch
    yield "HeadPoseRoll", pose.roll
    yield "InterEyeDistance", between_eyes / max(math.cos(math.radians(pose.yaw)), 0.01)
    yield "LeftwardCropOfTheFaceImage", right_x / between_eyes
    yield "RightwardCropOfTheFaceImage", (width - left_x) / between_eyes
    yield "MarginAboveOfTheFaceImage", eye_y / to_chin
    yield "MarginBelowOfTheFaceImage", (height - eye_y) / to_chin
    yield "HeadSize", to_chin / height
