"""Makes pixels as a viewer shows them: blended with white, and turned as EXIF says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_OPAQUE: Final = 255
_BAND_PIXELS: Final = 1 << 20


def in_bands(height: int, width: int, band: Callable[[int, int], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Make an image from bands of rows. Converting a whole image at once would take several times its memory.

    Args:
        height: the height of the image.
        width: the width of the image.
        band: called with the index of the first row and of the row after the last one. Returns these rows, N x W x 3.

    Returns:
        H x W x 3.
    """
    image = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        image[top:bottom] = band(top, bottom)
    return image


def over_white(color: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend an image with a white background.

    Args:
        color: H x W x 3, not multiplied by alpha.
        alpha: H x W; 0 is transparent.
    """
    if alpha.min() == _OPAQUE:
        return color
    share = alpha.astype(np.float32) / _OPAQUE
    return np.asarray(cv2.blendLinear(color, np.full_like(color, _OPAQUE), share, 1 - share), np.uint8)


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror an image as its EXIF orientation (1 to 8) says."""
    match orientation:
        case 2:
            turned = cv2.flip(image, 1)
        case 3:
            turned = cv2.rotate(image, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(image, 0)
        case 5:
            turned = cv2.transpose(image)
        case 6:
            turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.rotate(cv2.transpose(image), cv2.ROTATE_180)
        case 8:
            turned = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return image
    return np.asarray(turned, np.uint8)
