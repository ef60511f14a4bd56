"""Bytes -> format, size and transparency, from the header alone: nothing is decoded, so a bomb costs nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fiqa_worker.errors import DecodeFailed, UnsupportedFormat

# TIFF's tags, and two of their values.
_WIDTH: Final = 256
_HEIGHT: Final = 257
_PHOTOMETRIC: Final = 262
_SAMPLES: Final = 277
_SHORT: Final = 3
_RGB: Final = 2
_COLOURS: Final = 3
_MAX_TIFF_ENTRIES: Final = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself.

    Attributes:
        width: in pixels, as stored: before any EXIF orientation; likewise height.
        transparent: whether pixels may have an alpha below the full one.
    """

    format: str
    width: int
    height: int
    transparent: bool = False


def read_header(data: bytes) -> Header:
    """Find out what a file is.

    Raises:
        DecodeFailed: it is empty, or its header is cut off or makes no sense.
        UnsupportedFormat: it is none of the formats that are read.
    """
    if not data:
        raise DecodeFailed("the file is empty")
    read = next((read for magic, offset, read in _FORMATS if data.startswith(magic, offset)), None)
    if read is None:
        raise UnsupportedFormat("not a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file")
    try:
        header = read(data)
    except (struct.error, IndexError):
        raise DecodeFailed("the file's header is cut off") from None
    if header.width < 1 or header.height < 1:
        raise DecodeFailed(f"the {header.format} header gives no size")
    return header


def _jpeg(data: bytes) -> Header:
    position = 2
    while True:
        if data[position] != 0xFF:  # noqa: PLR2004  every marker begins with it
            raise DecodeFailed("the JPEG's segments are damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # noqa: PLR2004  a fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004  start of frame
            height, width = struct.unpack_from(">HH", data, position + 5)
            return Header("JPEG", width, height)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # noqa: PLR2004  markers without a segment
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + length


def _png(data: bytes) -> Header:
    width, height, _, colour_type = struct.unpack_from(">IIBB", data, 16)
    has_alpha = colour_type in {4, 6} or any(kind == b"tRNS" for kind, _ in _png_chunks(data))
    return Header("PNG", width, height, has_alpha)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Chunks before the pixels, by kind and where they begin."""
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            return
        yield kind, position
        position += 12 + length


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        if len(data) < 30:  # noqa: PLR2004  where the height ends
            raise DecodeFailed("the file's header is cut off")
        return Header("WebP", width, height, bool(flags & 0x10))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    raise DecodeFailed("the WebP holds no image")


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", width, height, transparent=True)


def _bmp(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:  # noqa: PLR2004  the oldest form has half the width
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("BMP", width, abs(height))


def _tiff(data: bytes) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in {b"+\0", b"\0+"}:  # BigTIFF, with offsets of eight bytes
        count_format, entry_size, value_at, offset = "Q", 20, 12, struct.unpack_from(f"{order}Q", data, 8)[0]
    else:
        count_format, entry_size, value_at, offset = "H", 12, 8, struct.unpack_from(f"{order}I", data, 4)[0]
    (count,) = struct.unpack_from(order + count_format, data, offset)
    first = offset + struct.calcsize(count_format)
    tags = {_WIDTH: 0, _HEIGHT: 0, _PHOTOMETRIC: 0, _SAMPLES: 1}
    for entry in range(first, first + min(count, _MAX_TIFF_ENTRIES) * entry_size, entry_size):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in tags:
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, entry + value_at)
    return Header("TIFF", tags[_WIDTH], tags[_HEIGHT], tags[_PHOTOMETRIC] == _RGB and tags[_SAMPLES] > _COLOURS)


def _avif(data: bytes) -> Header:
    """The largest of the sizes that the file's items have; the picture's own is among them."""
    end = data.find(b"mdat")
    boxes = data if end < 0 else data[:end]
    sizes = [struct.unpack_from(">II", boxes, found.start() + 8) for found in re.finditer(b"ispe", boxes)]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return Header("AVIF", width, height, transparent=True)


_FORMATS: Final[tuple[tuple[bytes, int, Callable[[bytes], Header]], ...]] = (
    (b"\xff\xd8\xff", 0, _jpeg),
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"WEBP", 8, _webp),
    (b"GIF87a", 0, _gif),
    (b"GIF89a", 0, _gif),
    (b"BM", 0, _bmp),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
    (b"II+\0", 0, _tiff),
    (b"MM\0+", 0, _tiff),
    (b"ftypavif", 4, _avif),
    (b"ftypavis", 4, _avif),
)
