"""Reads the size of an AVIF or HEIC file: the size in its boxes and the sizes in its streams.

A decoder allocates memory for all of these.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from fiqa_worker.errors import DecodeFailed
from fiqa_worker.pipeline.hevc import config_sets, sps_pixels, stream_sets

_CONTAINERS: Final = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_WITH_ITEMS: Final = {b"iinf"}
_DEPTH: Final = 8
# No encoder writes this many. It limits the time for a file that consists of small parts only.
_MAX_PARTS: Final = 100_000
_SEQUENCE_HEADER: Final = 1  # of AV1's open bitstream units (OBU)
_MAX_HEADER_BYTES: Final = 1024
_IN_IDAT: Final = 1


@dataclass(frozen=True, slots=True)
class AvifSize:
    """Sizes in pixels.

    Attributes:
        width: the width of the largest item or track.
        height: its height.
        coded: the number of pixels of all streams together.
        largest_coded: the number of pixels of the largest stream.
    """

    width: int
    height: int
    coded: int
    largest_coded: int


def avif_size(data: bytes | mmap) -> AvifSize:
    """Read the boxes of a file, and the headers of its streams.

    Raises:
        DecodeFailed: the file has more parts than any encoder writes.
        struct.error, IndexError: the file is cut off.
    """
    return _Reader(data).size()


class _Reader:
    def __init__(self, data: bytes | mmap) -> None:
        self._data = memoryview(data)
        self._parts = 0

    def size(self) -> AvifSize:
        boxes: dict[bytes, list[memoryview]] = defaultdict(list)
        for kind, body in self._boxes(self._data, _DEPTH):
            boxes[kind].append(body)
        sizes = [struct.unpack_from(">II", body, 4) for body in boxes[b"ispe"]]
        # The last eight bytes of a track's header are its size, in units of 1/65,536 of a pixel.
        sizes += [(wide >> 16, high >> 16) for wide, high in (struct.unpack(">II", t[-8:]) for t in boxes[b"tkhd"])]
        streams: list[memoryview] = list(self._samples(boxes))
        kinds: dict[int, set[bytes]] = defaultdict(set)
        for body in boxes[b"infe"]:
            number, kind = struct.unpack_from(">I2x4s" if body[0] > 2 else ">H2x4s", body, 4)  # noqa: PLR2004
            kinds[number].add(kind)
        sets = [parameters for body in boxes[b"hvcC"] for parameters in config_sets(body)]
        for number, payload in self._items(boxes):
            if b"grid" in kinds[number]:
                sizes.append(struct.unpack_from(">II" if payload[1] & 1 else ">HH", payload, 4))
            if b"av01" in kinds[number]:
                streams.append(payload)
            if b"hvc1" in kinds[number]:
                sets += stream_sets(payload)
        coded = [size for stream in streams for size in self._sequence_sizes(stream)]
        coded += [sps_pixels(_Bits(parameters)) for parameters in sets]
        width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        return AvifSize(width, height, sum(coded), max(coded, default=0))

    def _boxes(self, data: memoryview, depth: int) -> Iterator[tuple[bytes, memoryview]]:
        """Yield every box that is not a container: its kind and its contents."""
        position = 0
        while position < len(data):
            self._count()
            size, kind = struct.unpack_from(">I4s", data, position)
            head = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", data, position + head)
                head = 16
            end = position + size if size else len(data)
            if size and (size < head or end > len(data)):
                raise DecodeFailed("the file's header is cut off")
            body = data[position + head : end]
            if kind in _WITH_ITEMS:
                skip = 6 if body[0] == 0 else 8  # the version, then the number of items
                yield from self._boxes(body[skip:], depth - 1)
            elif kind in _CONTAINERS and depth:
                yield from self._boxes(body[_CONTAINERS[kind] :], depth - 1)
            else:
                yield kind, body
            position = end

    def _items(self, boxes: dict[bytes, list[memoryview]]) -> Iterator[tuple[int, memoryview]]:
        """Yield every item's number and its bytes."""
        for body in boxes[b"iloc"]:
            version, sizes, base_sizes = body[0], body[4], body[5]
            lengths = (base_sizes >> 4, base_sizes & 15 if version else 0, sizes >> 4, sizes & 15)
            wide = version == 2  # noqa: PLR2004  item numbers have four bytes
            position = 6
            count, position = _number(body, position, 4 if wide else 2)
            for _ in range(count):
                number, position = _number(body, position, 4 if wide else 2)
                method, position = _number(body, position, 2 if version else 0)
                base, position = _number(body, position + 2, lengths[0])
                extents, position = _number(body, position, 2)
                spans = []
                for _ in range(extents):
                    self._count()
                    offset, position = _number(body, position + lengths[1], lengths[2])
                    length, position = _number(body, position, lengths[3])
                    spans.append((base + offset, length))
                for source in boxes[b"idat"] if method & 15 == _IN_IDAT else [self._data]:
                    yield number, self._joined(source, spans)

    def _joined(self, source: memoryview, spans: list[tuple[int, int]]) -> memoryview:
        pieces = [source[start : start + length] if length else source[start:] for start, length in spans]
        if len(pieces) == 1:
            return pieces[0]
        if sum(map(len, pieces)) > len(self._data):
            raise DecodeFailed("the AVIF's items overlap")
        return memoryview(b"".join(pieces))

    def _samples(self, boxes: dict[bytes, list[memoryview]]) -> Iterator[memoryview]:
        """Yield the first sample of every track, and all bytes after it."""
        for kind, length in ((b"stco", 4), (b"co64", 8)):
            for body in boxes[kind]:
                if int.from_bytes(body[4:8], "big"):
                    yield self._data[_number(body, 8, length)[0] :]

    def _sequence_sizes(self, stream: memoryview) -> Iterator[int]:
        """Yield the number of pixels of a frame for each sequence header of an AV1 stream.

        Stop where a decoder stops.
        """
        position = 0
        with suppress(IndexError):
            while position < len(stream):
                self._count()
                head = stream[position]
                position += 2 if head & 4 else 1
                size = len(stream) - position
                if head & 2:
                    size, position = _leb128(stream, position)
                if head & 0x80 or position + size > len(stream):
                    return
                if head >> 3 & 15 == _SEQUENCE_HEADER:
                    yield _frame_pixels(bytes(stream[position : position + min(size, _MAX_HEADER_BYTES)]))
                position += size

    def _count(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise DecodeFailed("the AVIF has more parts than an image needs")


def _number(data: memoryview, position: int, length: int) -> tuple[int, int]:
    """Read a big-endian number. Return it, and the position after it."""
    if position + length > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + length], "big"), position + length


def _leb128(data: memoryview, position: int) -> tuple[int, int]:
    """Read a number with seven bits per byte. Return it, and the position after it."""
    number = 0
    for shift in range(0, 56, 7):
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  its last byte
            break
    return number, position


def _frame_pixels(header: bytes) -> int:
    """Return width times height of the largest frame that a sequence header allows (AV1 specification, 5.5.1)."""
    bits = _Bits(header)
    bits.skip(4)  # profile, still_picture
    if bits.take(1):  # a reduced header
        bits.skip(5)
    else:
        delay_length = 0
        if bits.take(1):  # timing
            bits.skip(64)
            if bits.take(1):
                bits.skip_uvlc()
            if bits.take(1):  # decoder model
                delay_length = bits.take(5) + 1
                bits.skip(42)
        has_delay = bits.take(1)
        for _ in range(bits.take(5) + 1):  # operating points
            bits.skip(12)
            if bits.take(5) > 7:  # noqa: PLR2004  levels with a tier
                bits.skip(1)
            if delay_length and bits.take(1):
                bits.skip(2 * delay_length + 1)
            if has_delay and bits.take(1):
                bits.skip(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        self.take(count)

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.skip(zeros if zeros < 32 else 0)  # noqa: PLR2004  then the value has no bits
