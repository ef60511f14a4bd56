"""Files whose header gives a small size, while a decoder allocates memory for a large one."""

from __future__ import annotations

import struct

import cv2
import pytest

from fiqa_worker.errors import DecodeFailed, ImageFailure, TooManyPixels, UnsupportedFormat
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.headers import read_header
from tests.hostile import bombs
from tests.hostile.bombs import BIG, ihdr, png
from tests.worker.pipeline.files import pillow_file
from tests.worker.pipeline.images import jpeg
from tests.worker.pipeline.looks import (
    COLOR,
    LOSSY,
    assert_shows,
    refused,
)

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


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, 1_000_000])
@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"fdAT", b"IEND"])
def test_a_png_chunk_that_is_longer_than_its_file_is_refused_before_memory_is_allocated(
    kind: bytes, length: int
) -> None:
    start = bombs.png(bombs.ihdr(), (b"IDAT", bombs.rows()))
    for data in (bombs.png(bombs.ihdr()), start):
        with pytest.raises(DecodeFailed, match="PNG"):
            read_header(data + struct.pack(">I", length) + kind + bytes(1000))


@pytest.mark.parametrize("name", ["jpeg: empty segments", "png: empty chunks"])
def test_a_file_of_nothing_but_small_parts_is_not_read_to_its_end(name: str) -> None:
    with pytest.raises(DecodeFailed, match="damaged"):
        read_header(bombs.bombs()[name])


JPEG = jpeg(COLOR[..., ::-1])


@pytest.mark.parametrize("brand", [b"mif1", b"miaf", b"MA1A"])
def test_avif_may_be_one_of_the_compatible_brands(brand: bytes) -> None:
    data = pillow_file(COLOR, "AVIF", quality=98)
    assert b"avif" in data[16:32]
    assert_shows(data[:8] + brand + data[12:], COLOR, LOSSY)


def test_a_png_of_an_app_for_apples_phones_is_named() -> None:
    refused(png((b"CgBI", b"P\0 \2"), ihdr(), (b"IDAT", b""), (b"IEND", b"")), "^PNG as Xcode rewrites it is not read$")


def test_a_video_is_not_an_avif() -> None:
    refused(struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp41" + bytes(100), "^not a JPEG, PNG, WebP")


@pytest.mark.parametrize(("compression", "name"), [(4, "JPEG"), (5, "PNG")])
def test_a_bmp_of_another_format_is_named(compression: int, name: str) -> None:
    data = bytearray(cv2.imencode(".bmp", COLOR)[1].tobytes())
    struct.pack_into("<I", data, 30, compression)
    refused(bytes(data), f"^BMP that holds a {name} is not read$")
