"""Reads the header of a JPEG file: its size, and whether OpenCV can read its kind of JPEG."""

from __future__ import annotations

import re
import struct
from typing import Final

from fiqa_worker.errors import DecodeFailed, UnsupportedFormat
from fiqa_worker.pipeline.file_bytes import FileBytes

# No camera or tool writes this many segments. It limits the time for a file that consists of empty segments only.
_MAX_SEGMENTS: Final = 100_000

# libjpeg skips all bytes up to the next marker, and so do browsers.
_MARKER: Final = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_WITHOUT_SEGMENT: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_END_OF_HEADER: Final = frozenset({0xD8, 0xD9, 0xDA})  # start of image, end of image, start of scan
_FRAMES_READ: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_FRAMES_NOT_READ: Final = {
    0xC3: "lossless JPEG",
    0xC5: "hierarchical JPEG",
    0xC6: "hierarchical JPEG",
    0xC7: "hierarchical JPEG",
    0xCB: "lossless JPEG",
    0xCD: "hierarchical JPEG",
    0xCE: "hierarchical JPEG",
    0xCF: "hierarchical JPEG",
    0xDE: "hierarchical JPEG",
    0xF7: "JPEG-LS",
}
_BITS: Final = 8
_COMPONENTS: Final = frozenset({1, 3, 4})


def jpeg_size(data: FileBytes) -> tuple[int, int]:
    """Read the width and the height, as stored.

    Raises:
        DecodeFailed: the file has no frame.
        UnsupportedFormat: it is a JPEG of a kind that is not read.
        struct.error, IndexError: the file is cut off.
    """
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or (marker := found[1][0]) in _END_OF_HEADER:
            break
        position = found.end()
        if marker in _FRAMES_NOT_READ:
            raise UnsupportedFormat(f"{_FRAMES_NOT_READ[marker]} is not read")
        if marker in _FRAMES_READ:
            bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            _check_kind(bits, height, components)
            return width, height
        if marker not in _WITHOUT_SEGMENT:
            (length,) = struct.unpack_from(">H", data, position)
            position += max(length, 2)  # the length includes its own two bytes
    raise DecodeFailed("the JPEG's segments are damaged")


def _check_kind(bits: int, height: int, components: int) -> None:
    if bits != _BITS:
        raise UnsupportedFormat(f"JPEG with {bits} bits a sample is not read")
    if components not in _COMPONENTS:
        raise UnsupportedFormat(f"JPEG with {components} color components is not read")
    if not height:
        raise UnsupportedFormat("JPEG that has its height after the first scan is not read")
