"""Alpha is blended with white once, in every depth. A channel that is not alpha is ignored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.worker.pipeline import files
from tests.worker.pipeline.files import pillow_file, png_file, tiff_file
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


@pytest.mark.parametrize("depth", [8, 16])
def test_a_gray_level_of_a_png_may_be_transparent(depth: int) -> None:
    level = int(GRAY[20, 20])
    stored = GRAY if depth == 8 else sixteen(GRAY)
    key = level if depth == 8 else level * 257
    data = png_file(stored[..., np.newaxis], before=[(b"tRNS", key.to_bytes(2, "big"))])
    assert_shows(data, over_white(gray(), np.where(level == GRAY, 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_gray_level_of_few_bits_may_be_transparent(depth: int) -> None:
    levels = np.arange(1 << depth, dtype=np.uint8)
    bits = np.unpackbits(levels[:, np.newaxis], axis=1)[:, -depth:]
    row = np.packbits(bits.reshape(1, -1), axis=1)
    data = png_file(row[..., np.newaxis], before=[(b"tRNS", b"\0\1")], color_type=0, depth=depth, width=len(levels))
    shown = (levels * (255 // (len(levels) - 1))).astype(np.uint8)
    shown[1] = 255
    assert_shows(data, np.dstack([shown[np.newaxis]] * 3), 0)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_color_of_a_png_may_be_transparent(depth: int) -> None:
    key = COLOR[0, 0] if depth == 8 else sixteen(COLOR)[0, 0]
    data = png_file(
        COLOR if depth == 8 else sixteen(COLOR), before=[(b"tRNS", b"".join(int(k).to_bytes(2, "big") for k in key))]
    )
    assert_shows(data, over_white(COLOR, np.where((COLOR[0, 0] == COLOR).all(axis=2), 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_an_avif_of_any_depth_looks_alike(depth: int, *, with_alpha: bool) -> None:
    stored = np.dstack([COLOR[..., ::-1], ALPHA]) if with_alpha else COLOR[..., ::-1]
    most = (1 << depth) - 1
    deep = stored if depth == 8 else np.rint(stored / 255.0 * most).astype(np.uint16)
    options = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 98, cv2.IMWRITE_AVIF_SPEED, 9]
    done, data = cv2.imencode(".avif", deep, options)
    assert done
    assert_shows(data.tobytes(), over_white(COLOR) if with_alpha else COLOR, LOSSY)


def test_an_avif_of_gray_and_alpha_is_read() -> None:
    assert_shows(pillow_file(GRAY_ALPHA, "AVIF", quality=98), over_white(gray()), LOSSY)


@pytest.mark.parametrize("is_animated", [False, True])
def test_a_transparent_gif_is_blended_with_white(*, is_animated: bool) -> None:
    level = int(GRAY[20, 20])
    frames = {"save_all": True, "append_images": [], "duration": 50} if is_animated else {}
    data = pillow_file(GRAY, "GIF", transparency=level, optimize=False, **frames)
    assert_shows(data, over_white(gray(), np.where(level == GRAY, 0, 255).astype(np.uint8)), 0)


def test_the_alpha_of_a_bmp_is_blended_with_white() -> None:
    done, data = cv2.imencode(".bmp", np.dstack([COLOR[..., ::-1], ALPHA]))
    assert done
    assert_shows(data.tobytes(), over_white(COLOR))


def test_the_fourth_byte_of_a_bmp_without_a_mask_for_alpha_is_ignored() -> None:
    done, data = cv2.imencode(".bmp", np.dstack([COLOR[..., ::-1], np.zeros_like(ALPHA)]))
    assert done
    plain = bytearray(data.tobytes())
    assert plain[66:70] == b"\0\0\0\xff"
    plain[66:70] = bytes(4)
    assert_shows(bytes(plain), COLOR, 0)
