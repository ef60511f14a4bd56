"""Bytes -> BGR array, as a viewer would show it; a JPEG also at a half, a quarter or an eighth of its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.errors import DecodeFailed, TooManyPixels
from fiqa_worker.pipeline.file_bytes import FileBytes
from fiqa_worker.pipeline.headers import Header, read_header

_OPAQUE: Final = 255
_WITH_CHANNELS: Final = 3  # axes
_BGRA: Final = 4  # channels
_REDUCED: Final = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
_DEPTHS: Final = (np.uint8, np.uint16)
_PIECE_PIXELS: Final = 1 << 20

# What OpenCV would print about a damaged file is said once, in the image's result.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image, or a smaller copy of it.

    Attributes:
        pixels: H x W x 3, BGR.
        width: of the whole image as displayed, in pixels; likewise height.
        reduction: 1, 2, 4 or 8: each pixel of the copy covers a square of so many pixels a side.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    reduction: int


def decode_reduced(data: FileBytes, *, max_pixels: int, long_side: float, least_reduction: int = 2) -> DecodedImage:
    """Decode the smallest copy that a JPEG yields by itself, and whose long side has at least so many pixels.

    Any other format is decoded in full, and so is a JPEG of which no copy has that size at `least_reduction` or more.
    All else is as `decode` says.
    """
    header = _checked_header(data, max_pixels)
    stored = (header.height, header.width)
    if header.format == "JPEG":
        for reduction, flag in _REDUCED:
            if max(stored) < long_side * reduction or reduction < least_reduction:
                continue
            pixels = _decode(data, flag)
            if pixels is None:
                raise _damaged(header)
            # Whether EXIF turned it on its side shows in its shape, unless the copy is a square and the image is none.
            copy = pixels.shape[:2]
            if copy[0] != copy[1] or stored[0] == stored[1]:
                upright = (copy[0] < copy[1]) == (stored[0] < stored[1])
                height, width = stored if upright else stored[::-1]
                return DecodedImage(pixels, width, height, reduction)
            break
    pixels = _decode_whole(data, header)
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], 1)


def decode(data: FileBytes, *, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file; the first picture of one that holds several.

    EXIF orientation is applied, 16 bits become 8, gray and palettes become colors, transparency is laid over white.

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
    return _decode_whole(data, _checked_header(data, max_pixels))


def _checked_header(data: FileBytes, max_pixels: int) -> Header:
    header = read_header(data)
    if header.pixels > max_pixels:
        size = f"{header.width} x {header.height}"
        if header.pixels > header.width * header.height:
            size += f", stored in tiles or streams of {header.pixels} pixels,"
        raise TooManyPixels(f"{size} is more than the {max_pixels} pixels of FIQA_MAX_IMAGE_PIXELS")
    return header


def _decode_whole(data: FileBytes, header: Header) -> NDArray[np.uint8]:
    image = _decode_transparent(data) if header.transparent else None
    if image is None:
        image = _decode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise _damaged(header)
    return image


def _damaged(header: Header) -> DecodeFailed:
    return DecodeFailed(f"the {header.format} file is cut off or damaged")


def _decode(data: FileBytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return cast("NDArray[np.uint8] | None", image)


def _decode_transparent(data: FileBytes) -> NDArray[np.uint8] | None:
    """Lay a picture with an alpha channel over white; None where it turns out to have none."""
    image = _decode(data, cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != _WITH_CHANNELS or image.shape[2] != _BGRA or image.dtype not in _DEPTHS:
        return None
    color = np.empty((*image.shape[:2], 3), np.uint8)
    # Piece by piece: what it takes on the way is several times the picture.
    rows = max(1, _PIECE_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):
        color[top : top + rows] = _over_white(image[top : top + rows])
    return color


def _over_white(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    color, alpha = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR), image[..., 3]
    if alpha.min() < _OPAQUE:
        share = alpha.astype(np.float32) / _OPAQUE
        color = cv2.blendLinear(color, np.full_like(color, _OPAQUE), share, 1 - share)
    return np.asarray(color, np.uint8)
