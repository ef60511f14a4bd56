"""Reads the size of an HEVC stream from its sequence parameter sets. A decoder allocates memory for this size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

_SPS: Final = 33  # the type of a network abstraction layer unit (NAL)
_MAX_SPS_BYTES: Final = 1024
# Streams are padded to whole blocks of at most 64 pixels. The padding must not put an image over the limit.
_WHOLE_BLOCKS: Final = ~63
_CONFIG_BYTES: Final = 22  # the length of hvcC before its arrays of NALs


class Bits(Protocol):
    """Reads numbers of bits."""

    def take(self, count: int) -> int: ...
    def skip(self, count: int) -> None: ...


def config_sets(config: memoryview) -> Iterator[bytes]:
    """Yield the sequence parameter sets of an hvcC box."""
    position = _CONFIG_BYTES + 1
    for _ in range(config[_CONFIG_BYTES]):
        count = int.from_bytes(config[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(config[position : position + 2], "big")
            position += 2
            if position + length > len(config):
                raise IndexError
            yield from _if_sps(config[position : position + length])
            position += length


def stream_sets(stream: memoryview) -> Iterator[bytes]:
    """Yield the sequence parameter sets of an item's stream. The length of each NAL has four bytes."""
    position = 0
    while position + 4 <= len(stream):
        length = int.from_bytes(stream[position : position + 4], "big")
        yield from _if_sps(stream[position + 4 : position + 4 + length])
        position += 4 + length


def _if_sps(unit: memoryview) -> Iterator[bytes]:
    if len(unit) > 2 and unit[0] >> 1 & 63 == _SPS:  # noqa: PLR2004  the bytes of its head
        # A third zero byte would look like the start of a unit, so encoders put a 3 before it.
        yield bytes(unit[2:_MAX_SPS_BYTES]).replace(b"\0\0\3", b"\0\0")


def sps_pixels(bits: Bits) -> int:
    """Return width times height of a frame, without what may be padding (ITU-T H.265, section 7.3.2.2)."""
    bits.skip(4)  # the id of the video parameter set
    layers = bits.take(3)
    bits.skip(1 + 96)  # nesting, profile and level
    has = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.skip(2 * (8 - layers))
    for has_profile, has_level in has:
        bits.skip(88 * has_profile + 8 * has_level)
    _exp_golomb(bits)  # its id
    if _exp_golomb(bits) == 3:  # noqa: PLR2004  4:4:4
        bits.skip(1)
    return (_exp_golomb(bits) & _WHOLE_BLOCKS) * (_exp_golomb(bits) & _WHOLE_BLOCKS)


def _exp_golomb(bits: Bits) -> int:
    zeros = 0
    while not bits.take(1):
        zeros += 1
    return (1 << zeros) - 1 + bits.take(zeros)
