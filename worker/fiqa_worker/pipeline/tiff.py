"""Reads the first directory of a TIFF file: size, kind and orientation. EXIF data has the same form."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from fiqa_worker.errors import DecodeFailed
from fiqa_worker.pipeline.file_bytes import FileBytes

# No encoder writes this many. They limit the time and the memory for a file that consists of a directory only.
_MAX_ENTRIES: Final = 4096
_MAX_VALUES: Final = 100_000

_BITS: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_ORIENTATION: Final = 274
_SAMPLES: Final = 277
_SAMPLE_FORMAT: Final = 339
_WIDTHS: Final = (256, 322)  # of the image, of a tile
_HEIGHTS: Final = (257, 323)

_SHORT: Final = 3
_LETTERS: Final = {_SHORT: "H", 4: "I", 16: "Q"}  # struct's letters for the types of a number
_BYTE_TYPES: Final = frozenset({1, 2, 7})
_UNCOMPRESSED: Final = 1
_COMPRESSIONS: Final = {
    6: "old JPEG",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_PLAIN: Final = frozenset({(1, 0), (1, 1), (3, 2)})  # samples, photometric
_SAMPLE_KINDS: Final = {1: "unsigned", 2: "signed", 3: "float"}
_PHOTOMETRICS: Final = {0: "inverted gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}


class _Entry(NamedTuple):
    tag: int
    kind: int
    values: int  # how many
    position: int  # of the value, or of its offset if the value is too long


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """The contents of the first directory.

    Attributes:
        tile_pixels: the number of pixels of one tile. 0 if there are no tiles.
        kind: samples, bits, colors and compression in words.
        is_plain: gray or RGB in unsigned samples of 8 or 16 bits, none of them alpha, in a common compression.
        is_common: compressed in a way that every build of libtiff reads.
        is_inverted: 0 is white.
    """

    width: int
    height: int
    tile_pixels: int
    kind: str
    is_plain: bool
    is_common: bool
    is_inverted: bool


def read_tiff(data: FileBytes) -> TiffHeader:
    """Read the directory of a TIFF or BigTIFF file.

    Raises:
        DecodeFailed: the directory does not make sense.
        struct.error, IndexError, OverflowError: the file is cut off.
    """
    directory = _Directory(data)
    # If a tag occurs twice, some decoders use the first one and some the last one. So the larger size counts.
    sizes: dict[int, int] = dict.fromkeys((*_WIDTHS, *_HEIGHTS), 0)
    numbers: dict[int, int] = {}
    for entry in directory.entries():
        if entry.values > _MAX_VALUES and entry.kind not in _BYTE_TYPES:
            raise DecodeFailed("the TIFF header has more values than an image needs")
        if entry.tag in sizes:
            if entry.values != 1 or entry.kind not in directory.letters:
                raise DecodeFailed("the TIFF header gives its size in a way that is not allowed")
            sizes[entry.tag] = max(sizes[entry.tag], directory.number(entry))
        elif entry.kind == _SHORT:
            numbers.setdefault(entry.tag, directory.number(entry))
    compression, photometric = numbers.get(_COMPRESSION, _UNCOMPRESSED), numbers.get(_PHOTOMETRIC, 0)
    samples, bits = numbers.get(_SAMPLES, 1), numbers.get(_BITS, 1)
    sample_kind = _SAMPLE_KINDS.get(numbers.get(_SAMPLE_FORMAT, 1), "other")
    colors = _PHOTOMETRICS.get(photometric, f"photometric {photometric}")
    is_common = compression not in _COMPRESSIONS
    (width, tile_width), (height, tile_height) = ((sizes[tag] for tag in tags) for tags in (_WIDTHS, _HEIGHTS))
    return TiffHeader(
        width,
        height,
        tile_pixels=tile_width * tile_height,
        kind=f"{samples} {sample_kind} samples of {bits} bits, {colors},"
        f" compression {_COMPRESSIONS.get(compression, compression)}",
        is_plain=is_common and (samples, photometric) in _PLAIN and bits in {8, 16} and sample_kind == "unsigned",
        is_common=is_common,
        is_inverted=photometric == 0,
    )


def exif_orientation(exif: bytes) -> int:
    """Read the orientation of an image: how it must be turned before it is shown.

    Args:
        exif: EXIF data, with or without the prefix that it has in a JPEG.

    Returns:
        1 to 8, as EXIF numbers them; 1 if the data have no orientation or are damaged.
    """
    try:
        directory = _Directory(exif.removeprefix(b"Exif\0\0"))
        found = [directory.number(entry) for entry in directory.entries() if entry[:3] == (_ORIENTATION, _SHORT, 1)]
    except (struct.error, IndexError, OverflowError, DecodeFailed):
        return 1
    return found[0] if found and 1 <= found[0] <= 8 else 1  # noqa: PLR2004  there are eight orientations


class _Directory:
    def __init__(self, data: FileBytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._is_big = data[2:4] in {b"+\0", b"\0+"}  # BigTIFF, with offsets of eight bytes
        self.letters = _LETTERS if self._is_big else {kind: _LETTERS[kind] for kind in (_SHORT, 4)}

    def entries(self) -> Iterator[_Entry]:
        offset = self._read("Q", 8) if self._is_big else self._read("I", 4)
        count = self._read("Q" if self._is_big else "H", offset)
        if count > _MAX_ENTRIES:
            raise DecodeFailed("the TIFF header has more entries than an image needs")
        start, size = (offset + 8, 20) if self._is_big else (offset + 2, 12)
        for position in range(start, start + count * size, size):
            tag, kind = self._read("H", position), self._read("H", position + 2)
            values = self._read("Q" if self._is_big else "I", position + 4)
            yield _Entry(tag, kind, values, position + (12 if self._is_big else 8))

    def number(self, entry: _Entry) -> int:
        """Read the first value of an entry. Its type must be in `letters`."""
        letter = self.letters[entry.kind]
        room = 8 if self._is_big else 4
        position = entry.position
        if entry.values * struct.calcsize(letter) > room:
            position = self._read("Q" if self._is_big else "I", position)
        return self._read(letter, position)

    def _read(self, letter: str, position: int) -> int:
        (number,) = struct.unpack_from(self._order + letter, self._data, position)
        return int(number)
