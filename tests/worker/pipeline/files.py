"""Image files of kinds that OpenCV does not write: PNG and TIFF byte by byte, the rest through Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pillow_heif import register_heif_opener

from tests.hostile.bombs import png

# Photometric interpretations and kinds of extra samples, as TIFF numbers them.
WHITE_IS_ZERO: Final = 0
GRAY: Final = 1
RGB: Final = 2
CMYK: Final = 5
UNSPECIFIED: Final = 0
ASSOCIATED: Final = 1
UNASSOCIATED: Final = 2

_PNG_COLOR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}


def exif(orientation: int) -> bytes:
    """EXIF data that hold an orientation and nothing else."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"


def png_file(
    pixels: NDArray[Any],
    *,
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
    color_type: int | None = None,
    depth: int | None = None,
    width: int | None = None,
) -> bytes:
    """Write a PNG.

    Args:
        pixels: H x W x samples, RGB, of 8 or 16 bits; or packed rows, with color_type, depth and width.
        before: chunks before the pixels.
        after: chunks after them.
        color_type: as PNG numbers them; None to choose it by the number of samples.
        depth: bits a sample; None for the array's.
        width: in pixels; None for the array's.
    """
    kind = _PNG_COLOR_TYPES[pixels.shape[2]] if color_type is None else color_type
    bits = depth or 8 * pixels.itemsize
    head = struct.pack(">IIBBBBB", width or pixels.shape[1], pixels.shape[0], bits, kind, 0, 0, 0)
    stored = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in stored))
    return png((b"IHDR", head), *before, (b"IDAT", rows), *after, (b"IEND", b""))


def tiff_file(
    pixels: NDArray[Any],
    photometric: int,
    *,
    extra: Sequence[int] = (),
    order: str = "<",
    planar: bool = False,
    big: bool = False,
    orientation: int = 1,
    compression: int = 8,
) -> bytes:
    """Write a TIFF of one strip, or of one a sample if planar.

    Args:
        pixels: H x W x samples, of 8, 16 or 32 bits, integers or floats.
        photometric: how the samples are to be understood.
        extra: the kinds of the samples beyond those.
        order: of the bytes, < or >.
        planar: store each sample's plane by itself.
        big: write a BigTIFF.
        orientation: as EXIF numbers them.
        compression: 8 for deflate, 1 for none; any other is only written into the header.
    """
    height, width, samples = pixels.shape
    planes = list(np.moveaxis(pixels, 2, 0)) if planar else [pixels]
    strips = [plane.astype(pixels.dtype.newbyteorder("<" if order == "<" else ">")).tobytes() for plane in planes]
    if compression != 1:
        strips = [zlib.compress(strip) for strip in strips]
    word = "Q" if big else "I"
    body = bytearray()
    start = 16 if big else 8

    def value(letter: str, numbers: Sequence[int]) -> bytes:
        """Pack numbers into the entry. If they do not fit, put them after the head, and pack their offset."""
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) <= struct.calcsize(word):
            return packed.ljust(struct.calcsize(word), b"\0")
        offset = start + len(body)
        body.extend(packed + b"\0" * (len(packed) % 2))
        return struct.pack(order + word, offset)

    offsets = []
    for strip in strips:
        offsets.append(start + len(body))
        body.extend(strip + b"\0" * (len(strip) % 2))
    sample_format = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags: list[tuple[int, str, Sequence[int]]] = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * pixels.itemsize] * samples),
        (259, "H", [compression]),
        (262, "H", [photometric]),
        (273, "I", offsets),
        (274, "H", [orientation]),
        (277, "H", [samples]),
        (278, "I", [height]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [2 if planar else 1]),
        *([(338, "H", extra)] if extra else []),
        (339, "H", [sample_format] * samples),
    ]
    entries = b"".join(
        struct.pack(f"{order}HH{word}", tag, {"H": 3, "I": 4}[letter], len(numbers)) + value(letter, numbers)
        for tag, letter, numbers in tags
    )
    directory = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries + bytes(struct.calcsize(word))
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, start + len(body))
    else:
        head = mark + struct.pack(f"{order}HI", 42, start + len(body))
    return head + bytes(body) + directory


register_heif_opener()


def pillow_file(pixels: NDArray[Any], form: str, **options: Any) -> bytes:
    """Write an image through Pillow: H x W for gray or bilevel, H x W x 2, 3 or 4 for gray and alpha, RGB, RGBA."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
