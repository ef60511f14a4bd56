"""Decodes a file to a BGR array, as a viewer shows it. A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.errors import DecodeFailed, TooManyPixels
from fiqa_worker.pipeline.decode_pillow import decode_avif, decode_heic, decode_odd, decode_tiff
from fiqa_worker.pipeline.display import in_bands, over_white, upright
from fiqa_worker.pipeline.file_bytes import FileBytes
from fiqa_worker.pipeline.headers import Header, read_header
from fiqa_worker.pipeline.native_output import captured_output
from fiqa_worker.pipeline.tiff import exif_orientation

_EXIF: Final = cv2.IMAGE_METADATA_EXIF
_DEPTHS: Final = (np.uint8, np.uint16)
_WHITE: Final = 255
_GRAY: Final = 2  # the number of axes of a gray array
_TO_BGR: Final = {(): cv2.COLOR_GRAY2BGR, (4,): cv2.COLOR_BGRA2BGR}  # by the axes after height and width
_REDUCED: Final = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)

# A damaged file is reported in its result, so OpenCV need not log it.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image, or a smaller copy of it.

    Attributes:
        pixels: H x W x 3, BGR.
        width: the width in pixels of the whole image, as displayed.
        height: the height in pixels of the whole image, as displayed.
        reduction: 1, 2, 4 or 8: each pixel of the copy covers a square of the image, with this many pixels on each
            side.
        warnings: lines that the decoder printed about damage that it could repair.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    reduction: int
    warnings: tuple[str, ...] = ()


def decode_reduced(
    data: FileBytes, *, max_pixels: int, long_side: float | Callable[[int], float], least_reduction: int = 2
) -> DecodedImage:
    """Decode a JPEG at the smallest size at which its long side has at least `long_side` pixels.

    If no copy that is reduced by `least_reduction` or more is large enough, the JPEG is decoded in full. Any other
    format is decoded in full, too. If `long_side` is a function, it is called with the long side of the whole image.
    For arguments and errors see `decode`.
    """
    header = _checked_header(data, max_pixels)
    with captured_output() as warnings:
        least = long_side(max(header.width, header.height)) if callable(long_side) else long_side
        image = _decode_reduced(data, header, least, least_reduction)
    return replace(image, warnings=tuple(warnings)) if warnings else image


def decode(data: FileBytes, *, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC file. If it holds several images, decode the first one.

    The orientation is applied. 16 bits become 8, and gray and palettes become colors. Transparent parts are blended
    with white.

    Args:
        data: the file.
        max_pixels: the largest number of pixels allowed. The header is checked before anything is decoded.

    Returns:
        H x W x 3, BGR.

    Raises:
        UnsupportedFormat: the file is of another format, or of a kind of its format that is not read.
        TooManyPixels: the header has more than `max_pixels`.
        DecodeFailed: the file is empty, cut off or damaged.
    """
    header = _checked_header(data, max_pixels)
    with captured_output():
        return _decode_whole(data, header)


def _checked_header(data: FileBytes, max_pixels: int) -> Header:
    header = read_header(data)
    if header.pixels > max_pixels:
        size = f"{header.width} x {header.height}"
        if header.pixels > header.width * header.height:
            size += f", stored in tiles or streams of {header.pixels} pixels,"
        raise TooManyPixels(f"{size} is more than the {max_pixels} pixels of FIQA_MAX_IMAGE_PIXELS")
    return header


def _decode_reduced(data: FileBytes, header: Header, long_side: float, least_reduction: int) -> DecodedImage:
    stored = (header.height, header.width)
    if header.format == "JPEG":
        for reduction, flag in _REDUCED:
            if max(stored) < long_side * reduction or reduction < least_reduction:
                continue
            pixels = _decode(data, flag)
            if pixels is None:
                raise _damaged(header)
            # The shape of the copy shows whether EXIF turned it by 90 degrees. A square copy of an image that is not
            # square does not show this. Such an image is decoded in full.
            copy = pixels.shape[:2]
            if copy[0] != copy[1] or stored[0] == stored[1]:
                is_turned = (copy[0] < copy[1]) != (stored[0] < stored[1])
                height, width = stored[::-1] if is_turned else stored
                return DecodedImage(pixels, width, height, reduction)
            break
    pixels = _decode_whole(data, header)
    return DecodedImage(pixels, pixels.shape[1], pixels.shape[0], 1)


def _decode_whole(data: FileBytes, header: Header) -> NDArray[np.uint8]:
    match header.format:
        case "JPEG":
            image = _decode(data, cv2.IMREAD_COLOR)
        # For these formats, Pillow applies alpha and orientation as the formats say. OpenCV does not.
        case "TIFF":
            return decode_tiff(data)
        case "AVIF":
            return decode_avif(data)
        case "HEIC":
            return decode_heic(data)
        case "GIF" | "BMP" if header.needs_pillow:
            image = decode_odd(data, header.format)
            return _on_white(image, header.frame) if header.frame else image
        case _:
            image = _decode_stored(data, header)
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


def _decode_stored(data: FileBytes, header: Header) -> NDArray[np.uint8] | None:
    """Decode an image as it is stored, then blend it with white and turn it. OpenCV does neither if there is alpha."""
    try:
        decoded, kinds, values = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if decoded is None or decoded.dtype not in _DEPTHS:
        return None
    stored = cast("NDArray[np.uint8] | NDArray[np.uint16]", decoded)
    shift = 8 * (stored.dtype.itemsize - 1)

    def band(top: int, bottom: int) -> NDArray[np.uint8]:
        rows = stored[top:bottom]
        eight = np.asarray(rows >> shift, np.uint8)
        color = np.asarray(cv2.cvtColor(eight, _TO_BGR[rows.shape[2:]]), np.uint8) if rows.shape[2:] != (3,) else eight
        if header.transparent and rows.shape[2:] == (4,):
            return over_white(color, eight[..., 3])
        if rows.ndim == _GRAY and header.transparent_gray is not None:
            return over_white(color, np.where(rows == header.transparent_gray, 0, 255).astype(np.uint8))
        return color

    is_final = stored.dtype == np.uint8 and stored.shape[2:] == (3,)
    image = cast("NDArray[np.uint8]", stored) if is_final else in_bands(stored.shape[0], stored.shape[1], band)
    if header.frame:
        image = _on_white(image, header.frame)
    exif = header.exif or next((bytes(v) for kind, v in zip(kinds, values, strict=True) if kind == _EXIF), b"")
    return upright(image, exif_orientation(exif))


def _on_white(image: NDArray[np.uint8], frame: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Make the area outside of a GIF's first image white.

    Browsers show nothing there. OpenCV shows a color of the palette.
    """
    left, top, width, height = frame
    inside = np.s_[top : top + height, left : left + width]
    white = np.full_like(image, _WHITE)
    white[inside] = image[inside]
    return white
