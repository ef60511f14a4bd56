from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.errors import DecodeFailed, TooManyPixels, UnsupportedFormat
from fiqa_worker.pipeline.decode import decode, decode_reduced
from fiqa_worker.pipeline.headers import read_header
from tests.worker.pipeline.images import gradient, jpeg, resized

MAX_PIXELS = 1_000_000
SUFFIXES = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".gif", ".avif")


def four_colors(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Four flat corners of different colors."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (250, 20, 20)
    image[: height // 2, width // 2 :] = (20, 250, 20)
    image[height // 2 :, : width // 2] = (20, 20, 250)
    image[height // 2 :, width // 2 :] = (200, 200, 200)
    return image


def encode(suffix: str, image: NDArray[np.generic], *options: int) -> bytes:
    done, data = cv2.imencode(suffix, np.asarray(image), options)
    assert done
    return data.tobytes()


def assert_alike(image: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: float = 6) -> None:
    assert image.shape == expected.shape
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).mean() < tolerance


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_read_as_bgr(suffix: str) -> None:
    tolerance = 25 if suffix == ".gif" else 6  # a GIF has few colors
    assert_alike(decode(encode(suffix, four_colors()), max_pixels=MAX_PIXELS), four_colors(), tolerance)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_header_gives_the_size(suffix: str) -> None:
    header = read_header(encode(suffix, four_colors(48, 64)))
    assert (header.width, header.height) == (64, 48)


def test_the_other_forms_of_webp_give_their_size() -> None:
    lossless = encode(".webp", four_colors(), cv2.IMWRITE_WEBP_QUALITY, 101)
    assert lossless[12:16] == b"VP8L"
    assert (read_header(lossless).width, read_header(lossless).height) == (64, 48)
    transparent = encode(
        ".webp", np.dstack([four_colors(), np.full((48, 64), 100, np.uint8)]), cv2.IMWRITE_WEBP_QUALITY, 80
    )
    assert transparent[12:16] == b"VP8X"
    assert (read_header(transparent).width, read_header(transparent).height) == (64, 48)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_over_the_pixel_limit_is_refused_with_both_numbers(suffix: str) -> None:
    with pytest.raises(TooManyPixels, match="64 x 48 is more than the 3071 pixels of FIQA_MAX_IMAGE_PIXELS"):
        decode(encode(suffix, four_colors()), max_pixels=64 * 48 - 1)
    decode(encode(suffix, four_colors()), max_pixels=64 * 48)


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    with pytest.raises(TooManyPixels):
        decode(bomb, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_off_anywhere_is_decode_failed(suffix: str) -> None:
    data = encode(suffix, four_colors())
    signature = 16
    for length in sorted({signature, len(data) // 4, len(data) // 2, len(data) * 3 // 4, len(data) - 1}):
        with pytest.raises(DecodeFailed):
            decode(data[: max(length, signature)], max_pixels=MAX_PIXELS)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(DecodeFailed, match="empty"):
        decode(b"", max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("data", [b"hello, I am text", b"%PDF-1.7", b"\0" * 100, b"\xff\xd8", b"<svg/>"])
def test_other_files_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat):
        decode(data, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = {
        1: four_colors(),
        2: cv2.flip(four_colors(), 1),
        3: cv2.rotate(four_colors(), cv2.ROTATE_180),
        4: cv2.flip(four_colors(), 0),
        5: cv2.transpose(four_colors()),
        6: cv2.rotate(four_colors(), cv2.ROTATE_90_CLOCKWISE),
        7: cv2.rotate(cv2.transpose(four_colors()), cv2.ROTATE_180),
        8: cv2.rotate(four_colors(), cv2.ROTATE_90_COUNTERCLOCKWISE),
    }[orientation]
    data = jpeg(four_colors(), orientation)
    assert_alike(decode(data, max_pixels=MAX_PIXELS), np.asarray(upright, np.uint8))
    copy = decode_reduced(jpeg(resized(four_colors(), 256, 192), orientation), max_pixels=MAX_PIXELS, long_side=64)
    assert_alike(copy.pixels, np.asarray(upright, np.uint8))
    assert (copy.width, copy.height, copy.reduction) == ((256, 192, 4) if orientation < 5 else (192, 256, 4))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_become_eight(suffix: str) -> None:
    deep = four_colors().astype(np.uint16) * 257
    assert_alike(decode(encode(suffix, deep), max_pixels=MAX_PIXELS), four_colors(), tolerance=1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
def test_gray_becomes_colors(suffix: str) -> None:
    gray = np.asarray(cv2.cvtColor(four_colors(), cv2.COLOR_BGR2GRAY), np.uint8)
    assert_alike(decode(encode(suffix, gray), max_pixels=MAX_PIXELS), np.dstack([gray] * 3))


def test_a_palette_becomes_colors() -> None:
    palette = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (200, 200, 200)]
    rows = b"".join(b"\0" + bytes(2 * (row >= 24) + (column >= 32) for column in range(64)) for row in range(48))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 3, 0, 0, 0)),
        (b"PLTE", b"".join(bytes(reversed(color)) for color in palette)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    assert_alike(decode(data, max_pixels=MAX_PIXELS), four_colors(), tolerance=1)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_transparency_is_blended_with_white(suffix: str, depth: type[np.generic]) -> None:
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:24, :32] = 0
    image = np.dstack([four_colors(), alpha])
    data = encode(suffix, image if depth is np.uint8 else image.astype(np.uint16) * 257)
    expected = four_colors()
    expected[:24, :32] = 255
    assert_alike(decode(data, max_pixels=MAX_PIXELS), expected, tolerance=1)


def test_half_transparency_is_half_white() -> None:
    data = encode(".png", np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 128, np.uint8)]))
    assert abs(int(decode(data, max_pixels=MAX_PIXELS)[4, 4, 0]) - 127) <= 1


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    assert_alike(decode(encode(".jpg", four_colors()) + b"motion photo" * 100, max_pixels=MAX_PIXELS), four_colors())


@pytest.mark.parametrize(
    ("width", "height", "reduction"),
    [(639, 400, 1), (1279, 400, 1), (1280, 720, 2), (400, 2559, 2), (2560, 1440, 4), (5119, 33, 4), (5121, 47, 8)],
)
def test_the_copy_is_the_smallest_that_is_large_enough(width: int, height: int, reduction: int) -> None:
    image = gradient(height, width)
    copy = decode_reduced(jpeg(image), max_pixels=10_000_000, long_side=640)
    assert (copy.width, copy.height, copy.reduction) == (width, height, reduction)
    assert copy.pixels.shape == (-(-height // reduction), -(-width // reduction), 3)
    assert_alike(copy.pixels, resized(image, copy.pixels.shape[1], copy.pixels.shape[0]))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_copy_is_not_used_if_its_shape_does_not_show_its_orientation(orientation: int) -> None:
    copy = decode_reduced(jpeg(gradient(510, 512), orientation), max_pixels=MAX_PIXELS, long_side=64)
    assert (copy.width, copy.height, copy.reduction) == ((512, 510, 1) if orientation == 1 else (510, 512, 1))


def test_a_square_is_reduced() -> None:
    copy = decode_reduced(jpeg(gradient(512, 512), 6), max_pixels=MAX_PIXELS, long_side=64)
    assert (copy.width, copy.height, copy.reduction) == (512, 512, 8)


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".jpg"])
def test_only_jpegs_are_reduced(suffix: str) -> None:
    copy = decode_reduced(encode(suffix, four_colors()), max_pixels=MAX_PIXELS, long_side=8)
    assert (copy.width, copy.height, copy.reduction, copy.pixels.shape) == (64, 48, 1, (48, 64, 3))


def test_a_jpeg_that_is_cut_off_is_decode_failed_at_any_size() -> None:
    data = jpeg(gradient(480, 640))
    for length in (len(data) // 4, len(data) // 2, len(data) - 1):
        with pytest.raises(DecodeFailed):
            decode_reduced(data[:length], max_pixels=MAX_PIXELS, long_side=64)


def test_the_pixel_limit_is_for_the_whole_image_and_not_for_its_copy() -> None:
    with pytest.raises(TooManyPixels, match="640 x 480 is more than the 307199 pixels"):
        decode_reduced(jpeg(gradient(480, 640)), max_pixels=640 * 480 - 1, long_side=64)
