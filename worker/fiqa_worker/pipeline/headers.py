"""Bytes -> format, size and transparency, from the header alone: nothing is decoded, so a bomb costs nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fiqa_worker.errors import DecodeFailed, UnsupportedFormat
from fiqa_worker.pipeline.avif import avif_size
from fiqa_worker.pipeline.file_bytes import FileBytes

# No file of a camera or a tool has as many parts before its pixels; a file made of nothing else would take seconds.
_MAX_PARTS: Final = 100_000

# TIFF's tags, the types of their values, and one of these.
_WIDTH: Final = 256
_HEIGHT: Final = 257
_PHOTOMETRIC: Final = 262
_SAMPLES: Final = 277
_TILE_WIDTH: Final = 322
_TILE_HEIGHT: Final = 323
_INTEGERS: Final = {3: "H", 4: "I"}
_INTEGERS_OF_BIGTIFF: Final = {**_INTEGERS, 16: "Q"}
_RGB: Final = 2
_COLORS: Final = 3
_MAX_TIFF_ENTRIES: Final = 4096
_TIFF_TAGS: Final = frozenset({_WIDTH, _HEIGHT, _PHOTOMETRIC, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT})


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself.

    Attributes:
        width: in pixels, as stored: before any EXIF orientation; likewise height.
        transparent: whether pixels may have an alpha below the full one.
        working_pixels: how many a decoder makes room for at once beside the picture, where the file says that of its
            tiles or streams.
    """

    format: str
    width: int
    height: int
    transparent: bool = False
    working_pixels: int = 0

    @property
    def pixels(self) -> int:
        """How many a decoder makes room for at least."""
        return max(self.width * self.height, self.working_pixels)


def read_header(data: FileBytes) -> Header:
    """Find out what a file is.

    Raises:
        DecodeFailed: it is empty, or its header is cut off or makes no sense.
        UnsupportedFormat: it is none of the formats that are read.
    """
    if not data:
        raise DecodeFailed("the file is empty")
    read = next((read for signature, read in _FORMATS if signature.match(data)), None)
    if read is None:
        raise UnsupportedFormat("not a JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file")
    try:
        header = read(data)
    except (struct.error, IndexError, OverflowError):  # the last for offsets of eight bytes
        raise DecodeFailed("the file's header is cut off") from None
    if header.width < 1 or header.height < 1:
        raise DecodeFailed(f"the {header.format} header gives no size")
    return header


def _jpeg(data: FileBytes) -> Header:
    position = 2
    for _ in range(_MAX_PARTS):
        marker = data[position + 1]
        # Every marker begins with 0xFF. Before 0 it is none: decoders look for the next, wherever that is.
        if data[position] != 0xFF or marker == 0:  # noqa: PLR2004
            break
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
    raise DecodeFailed("the JPEG's segments are damaged")


def _png(data: FileBytes) -> Header:
    width, height, _, color_type = struct.unpack_from(">IIBB", data, 16)
    has_alpha = color_type in {4, 6}
    position = 8
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        # A decoder makes room for all that a chunk says it holds, before it finds that the file ends.
        if position > len(data):
            raise DecodeFailed("the PNG file is cut off or damaged")
        has_alpha = has_alpha or kind == b"tRNS"
        if kind == b"IEND":
            break
    else:
        raise DecodeFailed("the PNG's chunks are damaged")
    return Header("PNG", width, height, has_alpha)


def _webp(data: FileBytes) -> Header:
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


def _gif(data: FileBytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", width, height, transparent=True)


def _bmp(data: FileBytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:  # noqa: PLR2004  the oldest form has half the width
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("BMP", width, abs(height))


def _tiff(data: FileBytes) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in {b"+\0", b"\0+"}:  # BigTIFF, with offsets of eight bytes
        count_format, entry_size, value_at, offset = "Q", 20, 12, struct.unpack_from(f"{order}Q", data, 8)[0]
    else:
        count_format, entry_size, value_at, offset = "H", 12, 8, struct.unpack_from(f"{order}I", data, 4)[0]
    integers = _INTEGERS if entry_size == 12 else _INTEGERS_OF_BIGTIFF  # noqa: PLR2004  classic TIFF's
    (count,) = struct.unpack_from(order + count_format, data, offset)
    first = offset + struct.calcsize(count_format)
    found: dict[int, int] = {}
    for entry in range(first, first + min(count, _MAX_TIFF_ENTRIES) * entry_size, entry_size):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        # Of tags that come twice decoders take the first.
        if tag in _TIFF_TAGS and tag not in found:
            if kind not in integers:
                raise DecodeFailed("the TIFF header gives its size in a way that is not allowed")
            (found[tag],) = struct.unpack_from(order + integers[kind], data, entry + value_at)
    width, height = found.get(_WIDTH, 0), found.get(_HEIGHT, 0)
    transparent = found.get(_PHOTOMETRIC) == _RGB and found.get(_SAMPLES, 1) > _COLORS
    return Header("TIFF", width, height, transparent, found.get(_TILE_WIDTH, 0) * found.get(_TILE_HEIGHT, 0))


def _avif(data: FileBytes) -> Header:
    size = avif_size(data)
    # Beside the picture's own stream there may be that of its alpha, and tiles that reach over its edge.
    working = max(size.largest_coded, size.coded // 4)
    return Header("AVIF", size.width, size.height, transparent=True, working_pixels=working)


# RIFF is looked for as well: without it WebP decoders take the bytes for a bare stream, which has its size elsewhere.
_FORMATS: Final[tuple[tuple[re.Pattern[bytes], Callable[[FileBytes], Header]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), _avif),
)
