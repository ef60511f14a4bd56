"""Files whose header gives a small size, while a decoder allocates memory for a large one."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from fiqa_worker.errors import DecodeFailed, ImageFailure, TooManyPixels, UnsupportedFormat
from fiqa_worker.pipeline.avif import avif_size
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.headers import read_header
from tests.hostile import bombs
from tests.hostile.bombs import BIG, HEIGHT, WIDTH, encode
from tests.worker.pipeline.images import gradient

MAX_PIXELS = 1_000_000


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (bombs.jpeg_frame_behind_no_marker, TooManyPixels),
        (bombs.tiff_size_given_twice, TooManyPixels),
        (bombs.tiff_size_in_eight_bytes, DecodeFailed),
        (lambda: bombs.tiff_tiles(BIG), TooManyPixels),
        (bombs.webp_bare_stream, UnsupportedFormat),
        (bombs.avif_stream_larger_than_its_box, TooManyPixels),
        (bombs.avif_box_behind_another, TooManyPixels),
    ],
)
def test_a_large_image_behind_a_small_header_is_refused(data: object, failure: type[ImageFailure]) -> None:
    assert callable(data)
    with pytest.raises(failure):
        decode(data(), max_pixels=MAX_PIXELS)


def test_the_message_names_tiles_that_are_larger_than_the_image() -> None:
    with pytest.raises(TooManyPixels, match=r"^64 x 48, stored in tiles or streams of 4194304 pixels, is more than "):
        decode(bombs.tiff_tiles(BIG), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, 1_000_000])
@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"fdAT", b"IEND"])
def test_a_png_chunk_that_is_longer_than_its_file_is_refused_before_memory_is_allocated(
    kind: bytes, length: int
) -> None:
    start = bombs.png(bombs.ihdr(), (b"IDAT", bombs.rows()))
    for data in (bombs.png(bombs.ihdr()), start):
        with pytest.raises(DecodeFailed, match="PNG"):
            read_header(data + struct.pack(">I", length) + kind + bytes(1000))


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


@pytest.mark.parametrize("name", ["jpeg: empty segments", "png: empty chunks"])
def test_a_file_of_nothing_but_small_parts_is_not_read_to_its_end(name: str) -> None:
    with pytest.raises(DecodeFailed, match="damaged"):
        read_header(bombs.bombs()[name])


def test_fill_bytes_of_a_jpeg_are_skipped_however_many_there_are() -> None:
    assert decode(bombs.bombs()["jpeg: a megabyte of fill bytes"], max_pixels=MAX_PIXELS).shape == (HEIGHT, HEIGHT, 3)


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


# AVIF's own streams


def test_the_streams_of_an_avif_have_its_size() -> None:
    image = gradient(HEIGHT, WIDTH)
    size = avif_size(encode(".avif", image))
    assert (size.width, size.height, size.coded, size.largest_coded) == (64, 48, 3072, 3072)


def test_the_alpha_of_an_avif_is_a_second_stream() -> None:
    image = gradient(HEIGHT, WIDTH)
    size = avif_size(encode(".avif", np.dstack([image, image[..., 0]])))
    assert (size.width, size.height, size.coded, size.largest_coded) == (64, 48, 6144, 3072)


def test_an_animated_avif_has_the_size_of_its_track() -> None:
    image = gradient(HEIGHT, WIDTH)
    animation = cv2.Animation()
    animation.frames, animation.durations = [image, np.ascontiguousarray(image[::-1])], [100, 100]
    data = cv2.imencodeanimation(".avif", animation)[1].tobytes()
    assert data[4:12] == b"ftypavis"
    assert (read_header(data).width, read_header(data).height) == (WIDTH, HEIGHT)
    assert decode(data, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (640, 1), (257, 129)])
def test_an_avif_at_the_limit_is_read(width: int, height: int) -> None:
    data = encode(".avif", gradient(height, width), cv2.IMWRITE_AVIF_SPEED, 10)
    assert decode(data, max_pixels=width * height).shape == (height, width, 3)


def test_an_avif_of_nothing_but_boxes_is_not_read_to_its_end() -> None:
    head = encode(".avif", gradient(HEIGHT, WIDTH))[:32]
    with pytest.raises(DecodeFailed, match="more parts"):
        avif_size(head + struct.pack(">I4s", 8, b"free") * 200_000)
