"""Finds the reasons why the quality of a face may be low, from its measures.

No standard has limits. These limits were chosen on 360 images of Labeled Faces in the Wild. Few of these images get a
reason. If the images are damaged, for instance blurred, and lose a fifth of their quality, they get the reason of that
damage. docs/measures.md has the numbers. Reasons explain a score. They never change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Reason
from fiqa_worker.pipeline.measures import CHIN, Measures

MIN_FACE_PX: Final = 40
# Less light lowers the variance. In a dark face, the second limit is lower than the first one.
MIN_LAPLACIAN_VARIANCE: Final = 30
MIN_LAPLACIAN_VARIANCE_PER_LUMINANCE: Final = 150
MAX_YAW: Final = 35
MAX_PITCH: Final = 25
# Landmarks turn less than the head: without a second look, those of a head tilted by 30 degrees turn by about 12.
MAX_ROLL: Final = 10
# Low, since luminance depends on the skin as well: the darkest of 360 faces of LFW has 0.07.
MIN_LUMINANCE: Final = 0.03
MAX_LUMINANCE: Final = 0.7
MAX_OVEREXPOSED: Final = 0.25
MIN_CHEEK_OVERLAP: Final = 0.005
MAX_OTHER_FACE: Final = 0.3

# Where a face ends. First, above the middle between the eyes, as a share of the distance from there to the chin.
# Second, beside the eyes, as a share of the distance between them.
_FOREHEAD: Final = 0.45
_CHEEK: Final = 0.5


def reasons(measured: Measures, landmarks: NDArray[np.float32], width: int, height: int) -> tuple[Reason, ...]:
    """Return the reasons, in the order of Reason. What could not be measured gives no reason.

    Args:
        measured: the measures of the face.
        landmarks: 5 x 2 pixels of the image, in YuNet's order.
        width: the width of the image, in pixels.
        height: the height of the image, in pixels.
    """
    return tuple(
        _reasons({name: value for name, value in measured.items() if value is not None}, landmarks, width, height)
    )


def _reasons(
    known: dict[str, float | int], landmarks: NDArray[np.float32], width: int, height: int
) -> Iterator[Reason]:
    luminance = known.get("LuminanceMean", 0.5)
    sharp_from = min(MIN_LAPLACIAN_VARIANCE, MIN_LAPLACIAN_VARIANCE_PER_LUMINANCE * luminance)
    if known["face_px"] < MIN_FACE_PX:
        yield Reason.TOO_SMALL
    elif known.get("laplacian_variance", sharp_from) < sharp_from:  # a small face is enlarged, and so never sharp
        yield Reason.BLURRED
    if abs(known.get("HeadPoseYaw", 0)) > MAX_YAW or abs(known.get("HeadPosePitch", 0)) > MAX_PITCH:
        yield Reason.TURNED_AWAY
    if abs(known.get("HeadPoseRoll", 0)) > MAX_ROLL:
        yield Reason.TILTED
    if luminance < MIN_LUMINANCE:
        yield Reason.TOO_DARK
    if luminance > MAX_LUMINANCE or known.get("OverExposurePrevention", 0) > MAX_OVEREXPOSED:
        yield Reason.TOO_BRIGHT
    if known.get("IlluminationUniformity", 1) < MIN_CHEEK_OVERLAP:
        yield Reason.UNEVEN_LIGHT
    if _is_cut_off(landmarks, width, height):
        yield Reason.CUT_OFF
    if known["SingleFacePresent"] > MAX_OTHER_FACE:
        yield Reason.SEVERAL_FACES


def _is_cut_off(landmarks: NDArray[np.float32], width: int, height: int) -> bool:
    """Return whether the forehead, the chin or a cheek lies outside of the image, for a face in any orientation."""
    right_eye, left_eye, _, right_mouth, left_mouth = (complex(x, y) for x, y in landmarks.tolist())
    eyes = (right_eye + left_eye) / 2
    across, down = left_eye - right_eye, CHIN * ((right_mouth + left_mouth) / 2 - eyes)
    ends = (
        eyes - _FOREHEAD * down,
        eyes + down,
        right_eye - _CHEEK * across + down / 3,
        left_eye + _CHEEK * across + down / 3,
    )
    return not all(0 <= end.real < width and 0 <= end.imag < height for end in ends)
