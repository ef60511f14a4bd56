"""Bytes -> BGR array, as a viewer would show it."""

from __future__ import annotations

from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.errors import DecodeFailed, TooManyPixels
from fiqa_worker.headers import read_header

_OPAQUE: Final = 255
_WITH_CHANNELS: Final = 3  # axes
_BGRA: Final = 4  # channels
_DEPTHS: Final = (np.uint8, np.uint16)
_PIECE_PIXELS: Final = 1 << 20

# What OpenCV would print about a damaged file is said once, in the image's result.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file; the first picture of one that holds several.

    EXIF orientation is applied, 16 bits become 8, grey and palettes become colours, transparency is laid over white.

    Args:
        data: the file.
        max_pixels: of the picture; found in the header, before anything is decoded.

    Returns:
        H x W x 3, BGR.

    Raises:
        UnsupportedFormat: it is none of these formats.
        TooManyPixels: the header says so.
        DecodeFailed: it is empty, cut off or damaged.
    """
    header = read_header(data)
    if header.pixels > max_pixels:
        size = f"{header.width} x {header.height}"
        if header.pixels > header.width * header.height:
            size += f", stored in tiles or streams of {header.pixels} pixels,"
        raise TooManyPixels(f"{size} is more than the {max_pixels} pixels of FIQA_MAX_IMAGE_PIXELS")
    image = _decode_transparent(data) if header.transparent else None
    if image is None:
        image = _decode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise DecodeFailed(f"the {header.format} file is cut off or damaged")
    return image


def _decode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return cast("NDArray[np.uint8] | None", image)


def _decode_transparent(data: bytes) -> NDArray[np.uint8] | None:
    """Lay a picture with an alpha channel over white; None where it turns out to have none."""
    image = _decode(data, cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != _WITH_CHANNELS or image.shape[2] != _BGRA or image.dtype not in _DEPTHS:
        return None
    colour = np.empty((*image.shape[:2], 3), np.uint8)
    # Piece by piece: what it takes on the way is several times the picture.
    rows = max(1, _PIECE_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):
        colour[top : top + rows] = _over_white(image[top : top + rows])
    return colour


def _over_white(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    colour, alpha = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), image[..., 3]
    if alpha.min() < _OPAQUE:
        share = alpha.astype(np.float32) / _OPAQUE
        colour = cv2.blendLinear(colour, np.full_like(colour, _OPAQUE), share, 1 - share)
    return np.asarray(colour, np.uint8)
