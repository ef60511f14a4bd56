"""Mutations of image files. Each is made from a seed and a number alone, so none is stored."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.hostile.bombs import HEIGHT, WIDTH, bombs, encode
from tests.worker.pipeline import files
from tests.worker.pipeline.files import exif, pillow_file, png_file, tiff_file
from tests.worker.pipeline.images import gradient

_HUGE: Final = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0x10000, 0xFFFF, 60_000, 16_384, 0)
_HEADER_BYTES: Final = 400  # in which the lengths and sizes are


@cache
def originals() -> dict[str, bytes]:
    """Return valid files of every format and kind, by name."""
    image = gradient(HEIGHT, WIDTH)
    alpha = np.dstack([image, image[..., 0]])
    frames = [image, np.ascontiguousarray(image[::-1]), np.ascontiguousarray(image[:, ::-1])]
    found = {
        "jpeg": encode(".jpg", image),
        "jpeg progressive": encode(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "jpeg restarts": encode(".jpg", image, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        "jpeg gray": encode(".jpg", image[..., 0]),
        "png": encode(".png", image),
        "png 16 bits alpha": encode(".png", alpha.astype(np.uint16) * 257),
        "png 1 bit": encode(".png", image[..., 0], cv2.IMWRITE_PNG_BILEVEL, 1),
        "webp": encode(".webp", image, cv2.IMWRITE_WEBP_QUALITY, 60),
        "webp lossless": encode(".webp", image, cv2.IMWRITE_WEBP_QUALITY, 101),
        "webp alpha": encode(".webp", alpha, cv2.IMWRITE_WEBP_QUALITY, 60),
        **{
            f"tiff {name}": encode(
                ".tiff", image, cv2.IMWRITE_TIFF_COMPRESSION, number, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 16
            )
            for name, number in (("plain", 1), ("lzw", 5), ("jpeg", 7), ("deflate", 8), ("packbits", 32_773))
        },
        "tiff 16 bits alpha": encode(".tiff", alpha.astype(np.uint16) * 257),
        "tiff float": encode(".tiff", image.astype(np.float32)),
        "bmp": encode(".bmp", image),
        "bmp alpha": encode(".bmp", alpha),
        "gif": encode(".gif", image),
        "avif": encode(".avif", image, cv2.IMWRITE_AVIF_SPEED, 9),
        "avif alpha": encode(".avif", alpha, cv2.IMWRITE_AVIF_SPEED, 9),
        "avif 10 bits alpha": encode(
            ".avif", alpha.astype(np.uint16) * 4, cv2.IMWRITE_AVIF_SPEED, 9, cv2.IMWRITE_AVIF_DEPTH, 10
        ),
        "avif turned": pillow_file(image, "AVIF", exif=exif(5)),
        "heic": pillow_file(image, "HEIF", quality=50),
        "heic turned alpha": pillow_file(alpha, "HEIF", quality=50, exif=exif(6)),
        "jpeg inks": pillow_jpeg_of_inks(image),
        "png turned": png_file(alpha.astype(np.uint16), before=[(b"eXIf", exif(6))], after=[(b"eXIf", exif(6))]),
        "png palette": png_file(image[..., :1], before=[(b"PLTE", bytes(768)), (b"tRNS", bytes(99))], color_type=3),
        "png transparent gray": png_file(image[..., :1], before=[(b"tRNS", b"\0\x05")]),
        "webp turned": pillow_file(alpha, "WEBP", lossless=True, exif=exif(7)),
        "tiff turned alpha": tiff_file(alpha, files.RGB, extra=[files.ASSOCIATED], orientation=6),
        "tiff planes": tiff_file(image.astype(np.uint16), files.RGB, planar=True, order=">"),
        "tiff big": tiff_file(image, files.RGB, big=True),
        "tiff big, big-endian": tiff_file(image, files.RGB, big=True, order=">", compression=1),
        "tiff white is zero": tiff_file(image[..., :1].astype(np.uint16), files.WHITE_IS_ZERO, order=">"),
        "tiff inks": tiff_file(alpha, files.CMYK),
        "tiff zstd": pillow_file(image, "TIFF", compression="zstd"),
        "tiff fax": pillow_file(np.where(image[..., 0] > 99, 255, 0) > 0, "TIFF", compression="group4"),
    }
    for suffix in (".png", ".webp", ".gif", ".avif"):
        animation = cv2.Animation()
        animation.frames, animation.durations = frames, [100] * len(frames)
        done, data = cv2.imencodeanimation(suffix, animation)
        assert done
        found[f"{suffix[1:]} animated"] = data.tobytes()
    done, data = cv2.imencodemulti(".tiff", frames)
    assert done
    found["tiff pages"] = data.tobytes()
    return found


def pillow_jpeg_of_inks(image: NDArray[np.uint8]) -> bytes:
    """Write a JPEG in CMYK."""
    file = io.BytesIO()
    Image.fromarray(image).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


def mutation(seed: int, number: int) -> tuple[str, bytes]:
    """Make one hostile file; returns its name and its bytes. The first numbers are the bombs, unchanged."""
    if number < len(bombs()):
        return list(bombs().items())[number]
    dice = random.Random(f"{seed} {number}")  # noqa: S311  a corpus, no secret
    good = originals()
    # Each kind in turn, so that all have the same share.
    name = list(good)[number % len(good)]
    data = bytearray(good[name])
    if dice.random() < 0.02:
        name, bomb = dice.choice(list(bombs().items()))
        data = bytearray(bomb[: 1 << 20])
    tricks = dice.choices(_TRICKS, k=dice.choice((1, 1, 1, 2, 3)))
    for trick in tricks:
        if data:
            trick(data, dice)
    if name.startswith("png") and dice.random() < 0.7:
        _repair_checksums(data)
    return f"{name}: {', '.join(trick.__name__.strip('_') for trick in tricks)}", bytes(data)


def _flip_bits(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 2, 8, 64))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _flip_bits_of_the_header(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 2, 8))):
        data[dice.randrange(min(len(data), _HEADER_BYTES))] ^= 1 << dice.randrange(8)


def _cut_the_tail(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def _cut_out(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 4, 12, 100))]


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    piece = data[start : start + dice.choice((1, 4, 12, 100, 1000))]
    data[start:start] = piece * dice.choice((1, 2, 50))


def _grow_a_number(data: bytearray, dice: random.Random) -> None:
    """Write a large number over what may be a length, an offset or a size."""
    width, letter = dice.choice(((1, "B"), (2, "H"), (4, "I")))
    limit = min(len(data), _HEADER_BYTES) - width
    if limit > 0:
        value = dice.choice(_HUGE) & ((1 << 8 * width) - 1)
        struct.pack_into(dice.choice("<>") + letter, data, dice.randrange(limit), value)


def _declare_a_size(data: bytearray, dice: random.Random) -> None:
    """Write another width and height into the header."""
    width, height = dice.choice(_HUGE), dice.choice((*_HUGE, 1, HEIGHT))
    small = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    if data[:3] == b"\xff\xd8\xff":
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        data[frame + 5 : frame + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif data[:4] == b"\x89PNG":
        data[16:24] = struct.pack(">II", width, height)
    elif data[:3] == b"GIF":
        data[6:10] = small
    elif data[:2] == b"BM":
        data[18:26] = struct.pack("<II", width, height)
    elif data[8:12] == b"WEBP":
        data[24:30] = small + small[:2]
    elif data[4:8] == b"ftyp":
        at = data.find(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    elif data[:2] == b"II":
        for tag, value in ((b"\0\1", width), (b"\1\1", height)):
            at = data.rfind(tag + b"\3\0\1\0\0\0")
            data[at + 8 : at + 12] = struct.pack("<I", value & 0xFFFF)


def _splice(data: bytearray, dice: random.Random) -> None:
    """Join the head of one file and the body of another."""
    other = dice.choice(list(originals().values()))
    cut = dice.randrange(len(data))
    data[cut:] = other[dice.randrange(len(other)) :]


def _wrap(data: bytearray, dice: random.Random) -> None:
    """Join two files."""
    other = dice.choice(list(originals().values()))
    if dice.random() < 0.5:
        data += other
    else:
        data[:] = other + data


def _fill(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    length = min(dice.choice((4, 40, 4000)), len(data) - start)
    data[start : start + length] = dice.choice((b"\0", b"\xff", b"\x80")) * length


_TRICKS: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (
    _flip_bits,
    _flip_bits_of_the_header,
    _cut_the_tail,
    _cut_out,
    _repeat,
    _grow_a_number,
    _grow_a_number,
    _declare_a_size,
    _splice,
    _wrap,
    _fill,
)


def _repair_checksums(data: bytearray) -> None:
    """Make a PNG's checksums valid again. Otherwise a decoder stops at them and never reads the chunks."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
