"""An image is turned as its format says, and transparency is blended with white, in every kind of file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.errors import UnsupportedFormat
from fiqa_worker.pipeline.decode import decode
from tests.hostile.bombs import png
from tests.worker.pipeline import files
from tests.worker.pipeline.files import exif, pillow_file, png_file, tiff_file
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

Turn = Callable[[NDArray[Any]], NDArray[Any]]


TURNS: Final[dict[int, Turn]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: np.swapaxes(image, 0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.swapaxes(image[::-1, ::-1], 0, 1),
    8: np.rot90,
}


def chunk(orientation: int) -> list[tuple[bytes, bytes]]:
    return [(b"eXIf", exif(orientation))]


def png_with_palette(orientation: int) -> bytes:
    levels = np.arange(256, dtype=np.uint8)
    palette = (b"PLTE", np.dstack([levels] * 3).tobytes())
    # The level 250 is transparent by half.
    alpha = (b"tRNS", bytes(np.where(levels == 250, 128, 255).astype(np.uint8)))
    return png_file(GRAY[..., np.newaxis], before=[palette, alpha, *chunk(orientation)], color_type=3)


# What is stored, by name, and what it looks like when it is upright.
KINDS: Final[dict[str, tuple[Callable[[int], bytes], NDArray[Any], float]]] = {
    "png": (lambda o: png_file(COLOR, before=chunk(o)), COLOR, 0),
    "png, alpha": (lambda o: png_file(COLOR_ALPHA, before=chunk(o)), over_white(COLOR), 1),
    "png, 16 bits": (lambda o: png_file(sixteen(COLOR), before=chunk(o)), COLOR, 1),
    "png, 16 bits, alpha": (lambda o: png_file(sixteen(COLOR_ALPHA), before=chunk(o)), over_white(COLOR), 1),
    "png, gray": (lambda o: png_file(GRAY[..., np.newaxis], before=chunk(o)), gray(), 0),
    "png, gray, alpha": (lambda o: png_file(GRAY_ALPHA, before=chunk(o)), over_white(gray()), 1),
    "png, gray, 16 bits, alpha": (lambda o: png_file(sixteen(GRAY_ALPHA), before=chunk(o)), over_white(gray()), 1),
    "png, palette, alpha": (
        png_with_palette,
        over_white(gray(), np.where(GRAY == 250, 128, 255).astype(np.uint8)),
        1,
    ),
    "png, EXIF behind the pixels": (lambda o: png_file(COLOR, after=chunk(o)), COLOR, 0),
    "png, alpha, EXIF behind the pixels": (lambda o: png_file(COLOR_ALPHA, after=chunk(o)), over_white(COLOR), 1),
    "webp": (lambda o: pillow_file(COLOR, "WEBP", lossless=True, exif=exif(o)), COLOR, 0),
    "webp, alpha": (
        lambda o: pillow_file(COLOR_ALPHA, "WEBP", lossless=True, exact=True, exif=exif(o)),
        over_white(COLOR),
        1,
    ),
    "webp, lossy, alpha": (
        lambda o: pillow_file(COLOR_ALPHA, "WEBP", quality=98, exif=exif(o)),
        over_white(COLOR),
        LOSSY,
    ),
    "avif": (lambda o: pillow_file(COLOR, "AVIF", quality=98, subsampling="4:4:4", exif=exif(o)), COLOR, LOSSY),
    "avif, alpha": (
        lambda o: pillow_file(COLOR_ALPHA, "AVIF", quality=98, subsampling="4:4:4", exif=exif(o)),
        over_white(COLOR),
        LOSSY,
    ),
    "heic": (lambda o: pillow_file(COLOR, "HEIF", quality=-1, chroma=444, exif=exif(o)), COLOR, LOSSY),
    "heic, alpha": (
        lambda o: pillow_file(COLOR_ALPHA, "HEIF", quality=-1, chroma=444, exif=exif(o)),
        over_white(COLOR),
        LOSSY,
    ),
    "tiff": (lambda o: tiff_file(COLOR, files.RGB, orientation=o), COLOR, 0),
    "tiff, alpha": (
        lambda o: tiff_file(COLOR_ALPHA, files.RGB, extra=[files.UNASSOCIATED], orientation=o),
        over_white(COLOR),
        1,
    ),
    "tiff, gray, 16 bits": (lambda o: tiff_file(sixteen(GRAY)[..., np.newaxis], files.GRAY, orientation=o), gray(), 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_is_turned_as_it_says(kind: str, orientation: int) -> None:
    file, upright, tolerance = KINDS[kind]
    assert_shows(file(orientation), TURNS[orientation](upright), tolerance)


def test_exif_does_not_turn_an_avif() -> None:
    # Pillow writes an orientation as irot and imir, and removes it from EXIF. So the test adds it to EXIF again.
    data = pillow_file(COLOR, "AVIF", quality=98, exif=b"Exif\0\0" + two_entries(6))
    at = data.index(struct.pack(">HHIHH", 0x0113, 3, 1, 6, 0))
    data = data[:at] + struct.pack(">H", 0x0112) + data[at + 2 :]
    assert decode(data, max_pixels=GRAY.size).shape == COLOR.shape


def two_entries(value: int) -> bytes:
    """EXIF data with a value under the number behind that of the orientation."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0113, 3, 1, value, 0) + b"\0\0\0\0"


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_xmp_turns_nothing(form: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for stored in (COLOR, COLOR_ALPHA):
        assert decode(pillow_file(stored, form, xmp=xmp), max_pixels=GRAY.size).shape == COLOR.shape


def test_the_first_image_of_an_animation_is_turned() -> None:
    control = struct.pack(">IIIIIHHBB", 0, 66, 48, 0, 0, 1, 10, 0, 0)
    still = png_file(COLOR_ALPHA, before=[(b"acTL", struct.pack(">II", 1, 0)), *chunk(6), (b"fcTL", control)])
    assert decode(still, max_pixels=GRAY.size).shape == (66, 48, 3)
    assert still.startswith(png())


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


@pytest.mark.parametrize("is_transparent", [False, True])
@pytest.mark.parametrize(("left", "top", "more"), [(15, 5, 20), (0, 0, 10), (0, 0, -20), (7, 3, -20), (0, 0, -66)])
def test_outside_of_the_first_image_a_gif_is_white(*, left: int, top: int, more: int, is_transparent: bool) -> None:
    level = int(GRAY[20, 20])
    data = bytearray(pillow_file(GRAY, "GIF", interlace=0, **({"transparency": level} if is_transparent else {})))
    height, width = GRAY.shape
    canvas = max(width + more, 0), max(height + more, 0)
    struct.pack_into("<HH", data, 6, *canvas)
    frame_at = data.rindex(struct.pack("<BHHHH", ord(","), 0, 0, width, height))
    struct.pack_into("<HH", data, frame_at + 1, left, top)
    whole = np.full((max(canvas[1], top + height), max(canvas[0], left + width), 3), 255.0)
    alpha = np.where(level == GRAY, 0, 255).astype(np.uint8) if is_transparent else np.full_like(GRAY, 255)
    whole[top : top + height, left : left + width] = over_white(gray(), alpha)
    assert whole.size <= 3 * 2 * GRAY.size
    image = decode(bytes(data), max_pixels=2 * GRAY.size)[..., ::-1]
    assert image.shape == whole.shape
    assert np.abs(image - whole).max() <= 0.5


@pytest.mark.parametrize(
    ("masks", "order"),
    [
        ((0xFF0000, 0xFF00, 0xFF), (2, 1, 0, 3)),
        ((0xFF000000, 0xFF0000, 0xFF00), (3, 2, 1, 0)),
        ((0xFF, 0xFF00, 0xFF0000), None),
    ],
)
def test_the_colors_of_a_bmp_are_where_its_masks_say(masks: tuple[int, ...], order: tuple[int, ...] | None) -> None:
    height, width = GRAY.shape
    samples = np.dstack([COLOR, np.zeros_like(GRAY)])[..., order or (0, 1, 2, 3)]
    header = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 32, 3, samples.size, 0, 0, 0, 0)
    data = struct.pack("<2sIHHI", b"BM", 66 + samples.size, 0, 0, 66) + header + struct.pack("<III", *masks)
    if order:
        assert_shows(data + samples.tobytes(), COLOR, 0)
    else:
        with pytest.raises(UnsupportedFormat, match="BMP with these color masks is not read"):
            decode(data + samples.tobytes(), max_pixels=GRAY.size)
