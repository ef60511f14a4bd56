"""Kinds of JPEG, TIFF, AVIF and BMP files: each is read as a viewer shows it, or named as one that is not read."""

from __future__ import annotations

import io
import struct
from functools import partial
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from fiqa_worker.errors import DecodeFailed, TooManyPixels, UnsupportedFormat
from fiqa_worker.pipeline.decode import decode, decode_reduced
from tests.hostile.bombs import ihdr, png
from tests.worker.pipeline import files
from tests.worker.pipeline.files import pillow_file, tiff_file
from tests.worker.pipeline.images import jpeg, resized
from tests.worker.pipeline.looks import (
    COLOR,
    COLOR_ALPHA,
    GRAY,
    GRAY_ALPHA,
    LOSSY,
    assert_shows,
    gray,
    over_white,
    sixteen,
)

JPEG = jpeg(COLOR[..., ::-1])


def refused(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedFormat, match=words):
        decode(data, max_pixels=1_000_000)


# JPEG


def segments(data: bytes) -> list[int]:
    """Where the markers of a JPEG's segments are, up to that of its first scan."""
    positions = [2]
    while data[positions[-1] + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, positions[-1] + 2)
        positions.append(positions[-1] + 2 + length)
    return positions


@pytest.mark.parametrize("stray", [b"\0", b"abc", b"\xff\0\xff\0", b"\xff\xff\xff", b"\0\xff"])
@pytest.mark.parametrize("segment", range(1, len(segments(JPEG))))
def test_stray_bytes_between_the_segments_of_a_jpeg_are_skipped(segment: int, stray: bytes) -> None:
    position = segments(JPEG)[segment]
    expected = decode(JPEG, max_pixels=COLOR.size)
    data = JPEG[:position] + stray + JPEG[position:]
    np.testing.assert_array_equal(decode(data, max_pixels=COLOR.size), expected)
    large = jpeg(resized(np.ascontiguousarray(COLOR[..., ::-1]), 660, 480))
    position = segments(large)[1]
    copy = decode_reduced(large[:position] + stray + large[position:], max_pixels=1_000_000, long_side=100)
    assert (copy.width, copy.height, copy.reduction) == (660, 480, 4)


def test_what_a_decoder_prints_is_a_warning_of_the_image(capfd: pytest.CaptureFixture[str]) -> None:
    position = JPEG.index(b"\xff\xdb")
    image = decode_reduced(JPEG[:position] + b"\0" + JPEG[position:], max_pixels=COLOR.size, long_side=9999)
    assert image.warnings == ("Corrupt JPEG data: 1 extraneous bytes before marker 0xdb",)
    assert decode_reduced(JPEG, max_pixels=COLOR.size, long_side=9999).warnings == ()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", [{}, {"subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("has_adobe_segment", [True, False])
def test_a_jpeg_of_four_inks_looks_as_in_pillow(how: dict[str, Any], *, has_adobe_segment: bool) -> None:
    file = io.BytesIO()
    Image.fromarray(COLOR).convert("CMYK").save(file, "JPEG", quality=95, **how)
    data = file.getvalue()
    if not has_adobe_segment:
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] :]
    assert_shows(data, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), 3)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (0xC3, "^lossless JPEG is not read$"),
        (0xC5, "^hierarchical JPEG is not read$"),
        (0xCB, "^lossless JPEG is not read$"),
        (0xF7, "^JPEG-LS is not read$"),
    ],
)
def test_kinds_of_jpeg_that_are_not_read_are_named(marker: int, words: str) -> None:
    refused(JPEG.replace(b"\xff\xc0", bytes([0xFF, marker]), 1), words)


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (4, b"\x0c", "^JPEG with 12 bits a sample is not read$"),
        (5, b"\0\0", "^JPEG that has its height after the first scan is not read$"),
        (9, b"\x02", "^JPEG with 2 color components is not read$"),
    ],
)
def test_frames_of_jpeg_that_are_not_read_are_named(offset: int, value: bytes, words: str) -> None:
    at = JPEG.index(b"\xff\xc0") + offset
    refused(JPEG[:at] + value + JPEG[at + len(value) :], words)


def test_a_progressive_jpeg_that_is_cut_off_is_damaged() -> None:
    data = pillow_file(COLOR, "JPEG", progressive=True)
    with pytest.raises(DecodeFailed):
        decode(data[: len(data) * 6 // 10], max_pixels=COLOR.size)


# TIFF


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_plain_tiff_is_read(depth: int, order: str, compression: int, *, big: bool) -> None:
    color, levels, white = (
        image if depth == 8 else sixteen(image) for image in (COLOR, GRAY[..., np.newaxis], 255 - GRAY[..., np.newaxis])
    )
    write = partial(tiff_file, order=order, big=big, compression=compression)
    assert_shows(write(color, files.RGB), COLOR)
    assert_shows(write(color, files.RGB, planar=True), COLOR)
    assert_shows(write(levels, files.GRAY), gray())
    assert_shows(write(white, files.WHITE_IS_ZERO), gray())
    with pytest.raises(DecodeFailed):
        decode(cut_within_its_strip(write(color, files.RGB)), max_pixels=COLOR.size)


def cut_within_its_strip(data: bytes) -> bytes:
    """A TIFF with a complete directory, and a strip that extends beyond the end of the file."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    at = data.rfind(struct.pack(f"{order}HH", 273, 4)) + (12 if is_big else 8)
    return data[:at] + struct.pack(f"{order}I", len(data) - 100) + data[at + 4 :]


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("order", ["<", ">"])
def test_white_may_be_zero_in_a_tiff_that_is_turned(order: str, orientation: int) -> None:
    white = sixteen(255 - GRAY[..., np.newaxis])
    data = tiff_file(white, files.WHITE_IS_ZERO, order=order, orientation=orientation)
    assert_shows(data, np.rot90(gray(), -1) if orientation == 6 else gray()[::-1, ::-1])


def test_inks_and_bilevel_tiffs_are_read() -> None:
    inks = np.asarray(Image.fromarray(COLOR).convert("CMYK"))
    assert_shows(tiff_file(inks, files.CMYK), COLOR, 2)
    black_and_white = Image.fromarray(np.where(GRAY > 128, 255, 0).astype(np.uint8)).convert("1")
    for compression in ("raw", "group3", "group4", "packbits"):
        file = io.BytesIO()
        black_and_white.save(file, "TIFF", compression=compression)
        assert_shows(file.getvalue(), gray(np.where(GRAY > 128, 255, 0).astype(np.uint8)), 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff_file(COLOR.astype(np.float32), files.RGB), "3 float samples of 32 bits, RGB, compression 8$"),
        (tiff_file(GRAY[..., np.newaxis].astype(np.float32), files.GRAY), "1 float samples of 32 bits, gray"),
        (tiff_file(GRAY[..., np.newaxis].astype(np.int16), files.GRAY), "1 signed samples of 16 bits, gray"),
        (tiff_file(GRAY[..., np.newaxis].astype(np.uint32), files.GRAY), "1 unsigned samples of 32 bits, gray"),
        (tiff_file(COLOR, files.RGB, compression=34712), "compression JPEG 2000$"),
        (tiff_file(COLOR, files.RGB, compression=34887), "compression LERC$"),
        (tiff_file(COLOR, files.RGB, compression=50002), "compression JPEG XL$"),
        (tiff_file(COLOR, files.RGB, compression=50001), "compression WebP$"),
        (tiff_file(sixteen(GRAY_ALPHA), files.GRAY, extra=[files.UNASSOCIATED]), "2 unsigned samples of 16 bits, gray"),
        (tiff_file(COLOR, 8), "3 unsigned samples of 8 bits, Lab"),
    ],
)
def test_kinds_of_tiff_that_are_not_read_are_named(data: bytes, words: str) -> None:
    refused(data, f"^TIFF of this kind is not read: .*{words}")


# AVIF, BMP, others


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:0:0"])
@pytest.mark.parametrize("pixels", [COLOR, COLOR_ALPHA])
def test_an_avif_of_any_subsampling_is_read(pixels: NDArray[np.uint8], subsampling: str) -> None:
    data = pillow_file(pixels, "AVIF", quality=98, subsampling=subsampling)
    color = gray() if subsampling == "4:0:0" else COLOR
    assert_shows(data, over_white(color) if pixels is COLOR_ALPHA else color, LOSSY)


@pytest.mark.parametrize("brand", [b"mif1", b"miaf", b"MA1A"])
def test_avif_may_be_one_of_the_compatible_brands(brand: bytes) -> None:
    data = pillow_file(COLOR, "AVIF", quality=98)
    assert b"avif" in data[16:32]
    assert_shows(data[:8] + brand + data[12:], COLOR, LOSSY)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_is_read_with_the_extra_and_named_without_it(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pillow_file(COLOR, "HEIF", quality=-1, chroma=444)
    assert b"heix" in data[16:28]
    data = data[:8] + brand + data[12:]
    assert_shows(data, COLOR, LOSSY)
    monkeypatch.setattr("fiqa_worker.pipeline.headers._HAS_HEIF", False)
    refused(data, r"^HEIC is read only if the worker has the extra heif: pip install 'fiqa\[heif\]'$")


def test_a_heic_of_ten_bits_is_read() -> None:
    deep = pillow_heif.from_bytes("RGB;16", COLOR.shape[1::-1], (COLOR.astype(np.uint16) * 257).tobytes())
    file = io.BytesIO()
    deep.save(file, quality=-1, chroma=444)
    assert_shows(file.getvalue(), COLOR, LOSSY)


def test_the_stream_of_a_heic_counts_and_not_only_its_box() -> None:
    data = bytearray(pillow_file(np.zeros((1200, 1000, 3), np.uint8), "HEIF", quality=20))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 16, 16)
    with pytest.raises(TooManyPixels, match=r"^16 x 16, stored in tiles or streams of 1\d+ pixels, is more than "):
        decode(bytes(data), max_pixels=1_000_000)


@pytest.mark.parametrize("cut", [30, 200, 400, -30])
def test_a_heic_that_is_cut_off_is_damaged(cut: int) -> None:
    with pytest.raises(DecodeFailed):
        decode(pillow_file(COLOR, "HEIF", quality=90)[:cut], max_pixels=1_000_000)


def test_a_png_of_an_app_for_apples_phones_is_named() -> None:
    refused(png((b"CgBI", b"P\0 \2"), ihdr(), (b"IDAT", b""), (b"IEND", b"")), "^PNG as Xcode rewrites it is not read$")


def test_a_video_is_not_an_avif() -> None:
    refused(struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp41" + bytes(100), "^not a JPEG, PNG, WebP")


@pytest.mark.parametrize(("compression", "name"), [(4, "JPEG"), (5, "PNG")])
def test_a_bmp_of_another_format_is_named(compression: int, name: str) -> None:
    data = bytearray(cv2.imencode(".bmp", COLOR)[1].tobytes())
    struct.pack_into("<I", data, 30, compression)
    refused(bytes(data), f"^BMP that holds a {name} is not read$")
