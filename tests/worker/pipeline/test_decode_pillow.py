"""Each kind of TIFF, AVIF and HEIC is read as a viewer shows it, or named as one that is not read."""

from __future__ import annotations

import io
import struct
from functools import partial

import cv2
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from fiqa_worker.errors import DecodeFailed
from fiqa_worker.pipeline.decode import decode
from tests.worker.pipeline import files
from tests.worker.pipeline.files import pillow_file, tiff_file
from tests.worker.pipeline.looks import (
    ALPHA,
    COLOR,
    COLOR_ALPHA,
    GRAY,
    GRAY_ALPHA,
    LOSSY,
    assert_shows,
    gray,
    over_white,
    refused,
    sixteen,
)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("extra", [files.UNSPECIFIED, files.ASSOCIATED, files.UNASSOCIATED])
def test_a_tiffs_fourth_sample_is_alpha_only_if_the_file_says_so(
    extra: int, depth: int, order: str, compression: int, *, planar: bool
) -> None:
    stored = COLOR_ALPHA.astype(float)
    if extra == files.ASSOCIATED:
        stored[..., :3] *= ALPHA[..., np.newaxis] / 255
    scale = 1 if depth == 8 else 257
    pixels = np.rint(stored * scale).astype(np.uint8 if depth == 8 else np.uint16)
    data = tiff_file(pixels, files.RGB, extra=[extra], order=order, compression=compression, planar=planar)
    assert_shows(data, COLOR if extra == files.UNSPECIFIED else over_white(COLOR), 2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", [files.UNSPECIFIED, files.ASSOCIATED, files.UNASSOCIATED])
def test_a_gray_tiffs_second_sample_is_alpha_only_if_the_file_says_so(extra: int, order: str) -> None:
    stored = GRAY_ALPHA.astype(float)
    if extra == files.ASSOCIATED:
        stored[..., 0] *= ALPHA / 255
    data = tiff_file(np.rint(stored).astype(np.uint8), files.GRAY, extra=[extra], order=order)
    assert_shows(data, gray() if extra == files.UNSPECIFIED else over_white(gray()), 2)


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_an_avif_of_any_depth_looks_the_same(depth: int, *, with_alpha: bool) -> None:
    stored = np.dstack([COLOR[..., ::-1], ALPHA]) if with_alpha else COLOR[..., ::-1]
    most = (1 << depth) - 1
    deep = stored if depth == 8 else np.rint(stored / 255.0 * most).astype(np.uint16)
    options = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 98, cv2.IMWRITE_AVIF_SPEED, 9]
    done, data = cv2.imencode(".avif", deep, options)
    assert done
    assert_shows(data.tobytes(), over_white(COLOR) if with_alpha else COLOR, LOSSY)


def test_an_avif_of_gray_and_alpha_is_read() -> None:
    assert_shows(pillow_file(GRAY_ALPHA, "AVIF", quality=98), over_white(gray()), LOSSY)


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


@pytest.mark.parametrize("cut", [30, 200, 400, -30])
def test_a_heic_that_is_cut_off_is_damaged(cut: int) -> None:
    with pytest.raises(DecodeFailed):
        decode(pillow_file(COLOR, "HEIF", quality=90)[:cut], max_pixels=1_000_000)
