"""The first directory of a TIFF file, and of EXIF data."""

from __future__ import annotations

import struct

import pytest

from fiqa_worker.errors import DecodeFailed, TooManyPixels, UnsupportedFormat
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.headers import read_header
from fiqa_worker.pipeline.tiff import exif_orientation
from tests.hostile import bombs
from tests.hostile.bombs import BIG, HEIGHT, WIDTH
from tests.worker.pipeline.files import exif, png_file
from tests.worker.pipeline.looks import (
    COLOR,
    COLOR_ALPHA,
    GRAY,
)

MAX_PIXELS = 1_000_000


def test_the_message_names_tiles_that_are_larger_than_the_image() -> None:
    with pytest.raises(TooManyPixels, match=r"^64 x 48, stored in tiles or streams of 4194304 pixels, is more than "):
        decode(bombs.tiff_tiles(BIG), max_pixels=MAX_PIXELS)


def test_tiles_that_are_within_the_limit_are_read() -> None:
    assert decode(bombs.tiff_tiles(256), max_pixels=MAX_PIXELS).shape == (HEIGHT, WIDTH, 3)


def test_bigtiff_may_have_its_size_in_eight_bytes() -> None:
    tags = [(256, 16, 1, 5_000_000_000), (257, 4, 1, 7), (262, 3, 1, 2)]
    header = read_header(bombs.tiff(tags, big=True))
    assert (header.format, header.width, header.height) == ("TIFF", 5_000_000_000, 7)


@pytest.mark.parametrize("offset", [1 << 62, 1 << 63, (1 << 64) - 1])
def test_an_offset_beyond_the_end_of_a_bigtiff_is_cut_off(offset: int) -> None:
    with pytest.raises(DecodeFailed, match="cut off"):
        read_header(b"II+\0\x08\0\0\0" + struct.pack("<Q", offset) + bytes(100))


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("sample_format", [1, 2, 3])
def test_samples_of_any_kind_are_read_or_named(bits: int, sample_format: int) -> None:
    data = bombs.tiff_image(WIDTH, HEIGHT, samples=4, bits=bits, sample_format=sample_format)
    if bits <= 16 and sample_format == 1:
        assert decode(data, max_pixels=MAX_PIXELS).shape == (HEIGHT, WIDTH, 3)
    else:
        kind = {1: "unsigned", 2: "signed", 3: "float"}[sample_format]
        with pytest.raises(UnsupportedFormat, match=f"4 {kind} samples of {bits} bits, RGB, compression 8"):
            decode(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    "tags",
    [
        [(256, 4, 1, WIDTH), (256, 4, 1, BIG)],  # libtiff takes the first, Pillow the last
        [(256, 4, 1, BIG), (256, 4, 1, WIDTH)],
    ],
)
def test_of_two_sizes_in_a_tiff_the_larger_counts(tags: list[bombs.Tag]) -> None:
    header = read_header(bombs.tiff([*tags, (257, 4, 1, HEIGHT)]))
    assert (header.width, header.height) == (BIG, HEIGHT)


def test_a_tiff_size_of_several_values_is_refused() -> None:
    with pytest.raises(DecodeFailed, match="not allowed"):
        read_header(bombs.tiff([(256, 4, 2, 8), (257, 4, 1, HEIGHT)]))


def test_a_tiff_of_a_million_strips_is_refused() -> None:
    with pytest.raises(DecodeFailed, match="more values than an image needs"):
        read_header(bombs.tiff([(256, 4, 1, WIDTH), (257, 4, 1, HEIGHT), (273, 4, 1_000_000, 16)]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MM\0*",
        b"MM\0*\xff\xff\xff\xff",
        exif(6)[:-8],
        exif(0),
        exif(9),
        exif(6).replace(b"\x01\x12\0\x03", b"\x01\x12\0\x04"),
        b"\0" * 100,
    ],
)
def test_damaged_exif_turns_nothing(data: bytes) -> None:
    assert exif_orientation(data) == 1
    assert decode(png_file(COLOR_ALPHA, before=[(b"eXIf", data)]), max_pixels=GRAY.size).shape == COLOR.shape
