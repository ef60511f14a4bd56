"""Image files that are built to hurt: small to send, and large, slow or strange to decode."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 64
HEIGHT: Final = 48
BIG: Final = 2048  # width and height of the image that hides behind a small header

_MEGABYTE: Final = 1 << 20


def encode(suffix: str, image: NDArray[np.generic], *options: int) -> bytes:
    """Encode an image with OpenCV."""
    done, data = cv2.imencode(suffix, np.asarray(image), options)
    assert done
    return data.tobytes()


def gray(side: int = BIG) -> NDArray[np.uint8]:
    """A flat image, side x side x 3."""
    return np.full((side, side, 3), 128, np.uint8)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Write a PNG of these chunks, with valid checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def ihdr(width: int = WIDTH, height: int = HEIGHT, *, depth: int = 8, color: int = 2) -> tuple[bytes, bytes]:
    """A PNG's first chunk."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)


def rows(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """The compressed rows of a black PNG."""
    return zlib.compress(bytes((3 * width + 1) * height))


Tag = tuple[int, int, int, int]


def tiff(tags: Sequence[Tag], data: bytes = b"", *, big: bool = False) -> bytes:
    """Write a little-endian TIFF of these tags (tag, type, count, value), in this order. `data` starts at byte 16."""
    entries = b"".join(struct.pack("<HHQQ" if big else "<HHII", *tag) for tag in tags)
    body = data + b"\0" * (len(data) % 2)
    first = 16 + len(body)
    if big:
        return b"II+\0\x08\0\0\0" + struct.pack("<Q", first) + body + struct.pack("<Q", len(tags)) + entries + bytes(8)
    head = b"II*\0" + struct.pack("<I", first) + bytes(8)
    return head + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def tiff_tags(
    width: int, height: int, stored: int, *, samples: int = 3, bits: int = 8, sample_format: int = 1
) -> list[Tag]:
    """Return the tags of an image in one deflated strip of `stored` bytes. The bits per sample follow the strip."""
    at = 16 + stored + stored % 2
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, samples, at if samples > 2 else bits),
        (259, 3, 1, 8),
        (262, 3, 1, 2 if samples > 2 else 1),
        (273, 4, 1, 16),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, stored),
        (284, 3, 1, 1),
        (339, 3, samples, at + 2 * samples if samples > 2 else sample_format),
    ]


def tiff_image(
    width: int, height: int, *, samples: int = 3, bits: int = 8, sample_format: int = 1, extra: Sequence[Tag] = ()
) -> bytes:
    """Write a black image. `extra` tags come after those of the same number."""
    strip = zlib.compress(bytes(width * height * samples * max(bits // 8, 1)))
    data = (
        strip
        + b"\0" * (len(strip) % 2)
        + struct.pack("<H", bits) * samples
        + struct.pack("<H", sample_format) * samples
    )
    tags = tiff_tags(width, height, len(strip), samples=samples, bits=bits, sample_format=sample_format)
    return tiff(sorted([*tags, *extra], key=lambda tag: tag[0]), data)


def tiff_tiles(tile: int) -> bytes:
    """Write a small image in one tile of tile x tile pixels."""
    strip = zlib.compress(bytes(3 * tile * tile))
    tags = [tag for tag in tiff_tags(WIDTH, HEIGHT, len(strip)) if tag[0] not in {273, 278, 279}]
    tags += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 16), (325, 4, 1, len(strip))]
    return tiff(sorted(tags), strip + b"\0" * (len(strip) % 2) + struct.pack("<6H", 8, 8, 8, 1, 1, 1))


def tiff_size_given_twice() -> bytes:
    """Give two sizes, the large one first: some decoders take the first."""
    return tiff_image(BIG, BIG, extra=[(256, 4, 1, WIDTH), (257, 4, 1, HEIGHT)])


def tiff_size_in_eight_bytes() -> bytes:
    """Give the size as numbers of eight bytes: their offsets, which stand in the tags, look like a small size."""
    strip = zlib.compress(bytes(3 * BIG * BIG))
    sizes = struct.pack("<QQ", BIG, BIG)
    tags = tiff_tags(BIG, BIG, len(sizes) + len(strip))
    moved = {256: (256, 16, 1, 16), 257: (257, 16, 1, 24), 273: (273, 4, 1, 32), 279: (279, 4, 1, len(strip))}
    data = sizes + strip
    tail = struct.pack("<6H", 8, 8, 8, 1, 1, 1)
    return tiff([moved.get(tag[0], tag) for tag in tags], data + b"\0" * (len(data) % 2) + tail)


def jpeg_frame_behind_no_marker() -> bytes:
    """Put FF 00 before a large frame. A reader that takes it for a segment skips that frame and finds a small one."""
    large = encode(".jpg", gray())
    start = large.index(b"\xff\xc0")
    rest = large[start:]
    skipped = min(len(rest), 60_000)
    small = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, HEIGHT, WIDTH, 3) + bytes.fromhex("012200021101031101")
    return large[:start] + b"\xff\x00" + struct.pack(">H", skipped + 2) + rest[:skipped] + small + rest[skipped:]


def webp_bare_stream() -> bytes:
    """Write a bare lossy stream of 1,367 rows, which has the header of a small WebP file among its partitions."""
    stream = bytearray(encode(".webp", gray(), cv2.IMWRITE_WEBP_QUALITY, 50)[20:])
    stream[8:16] = b"WEBPVP8 "
    stream[26:30] = struct.pack("<HH", WIDTH, HEIGHT)
    return bytes(stream)


def webp_with_another_canvas() -> bytes:
    """Put a large frame on a small canvas."""
    frame = encode(".webp", gray(), cv2.IMWRITE_WEBP_QUALITY, 50)[12:]
    canvas = struct.pack("<4sIB3x", b"VP8X", 10, 0) + (WIDTH - 1).to_bytes(3, "little")
    canvas += (HEIGHT - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame


def avif_stream_larger_than_its_box() -> bytes:
    """Give a small size in the box of a large AV1 stream."""
    data = bytearray(encode(".avif", gray(), cv2.IMWRITE_AVIF_SPEED, 10))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, WIDTH, HEIGHT)
    return bytes(data)


def avif_box_behind_another() -> bytes:
    """Put a box in front that is ignored, and that holds a small size and the name of the box with the pixels."""
    data = encode(".avif", gray(), cv2.IMWRITE_AVIF_SPEED, 10)
    after_first = int.from_bytes(data[:4], "big")
    decoy = b"ispe" + struct.pack(">III", 0, WIDTH, HEIGHT) + b"mdat"
    decoy = struct.pack(">I4s", 8 + len(decoy), b"free") + decoy
    old = data.index(b"mdat") + 4
    offset = data.index(struct.pack(">I", old), data.index(b"iloc"))
    data = data[:offset] + struct.pack(">I", old + len(decoy)) + data[offset + 4 :]
    return data[:after_first] + decoy + data[after_first:]


def apng_frame_larger_than_the_image() -> bytes:
    """Write an animation with a first frame that is larger than the image."""
    control = struct.pack(">IIIIIHHBB", 0, BIG, BIG, 0, 0, 1, 10, 0, 0)
    return png(
        ihdr(), (b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", control), (b"IDAT", rows(BIG, BIG)), (b"IEND", b"")
    )


def gif_frame_larger_than_the_image() -> bytes:
    """Put a frame of 60,000 x 60,000 on a small canvas."""
    data = bytearray(encode(".gif", gray(HEIGHT)))
    at = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
    struct.pack_into("<HH", data, at + 5, 60_000, 60_000)
    return bytes(data)


@cache
def bombs() -> dict[str, bytes]:
    """Return all of them, by name."""
    much = zlib.compress(bytes(200 * _MEGABYTE), 1)
    end = (b"IEND", b"")
    jpeg = encode(".jpg", gray(HEIGHT))
    bmp = encode(".bmp", gray(HEIGHT))
    return {
        "jpeg: frame behind no marker": jpeg_frame_behind_no_marker(),
        "jpeg: a megabyte of fill bytes": jpeg[:2] + b"\xff" * _MEGABYTE + jpeg[2:],
        "jpeg: empty segments": jpeg[:2] + b"\xff\xe1\0\2" * 500_000 + jpeg[2:],
        "jpeg: scan without end": jpeg[:-2] + bytes(_MEGABYTE),
        "jpeg: a thousand scans": _jpeg_with_scans(1000),
        "png: declares 60,000 x 60,000": png(ihdr(60_000, 60_000), (b"IDAT", rows()), end),
        "png: 200 MB of rows": png(ihdr(), (b"IDAT", much), end),
        "png: 200 MB of text": png(ihdr(), (b"zTXt", b"Comment\0\0" + much), (b"IDAT", rows()), end),
        "png: 200 MB of profile": png(ihdr(), (b"iCCP", b"profile\0\0" + much), (b"IDAT", rows()), end),
        "png: a chunk of two gigabytes": png(ihdr()) + b"\x7f\xff\xff\xffIDAT" + rows(),
        "png: empty chunks": png(ihdr(), *[(b"tEXt", b"")] * 200_000, (b"IDAT", rows()), end),
        "png: rows of another size": png(ihdr(), (b"IDAT", rows(BIG, BIG)), end),
        "apng: frame larger than the image": apng_frame_larger_than_the_image(),
        "webp: bare stream": webp_bare_stream(),
        "webp: another canvas": webp_with_another_canvas(),
        "gif: canvas of 65,535 x 65,535": b"GIF89a" + b"\xff" * 4 + encode(".gif", gray(HEIGHT))[10:],
        "gif: frame larger than the image": gif_frame_larger_than_the_image(),
        "bmp: declares 60,000 x 60,000": bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:],
        "bmp: the lowest height": bmp[:22] + struct.pack("<i", -(2**31)) + bmp[26:],
        "bmp: run lengths that end nowhere": bmp[:30] + struct.pack("<I", 1) + bmp[34:],
        "tiff: size given twice": tiff_size_given_twice(),
        "tiff: size in eight bytes": tiff_size_in_eight_bytes(),
        "tiff: tiles larger than the image": tiff_tiles(BIG),
        "tiff: 60,000 samples a pixel": tiff_image(WIDTH, HEIGHT, extra=[(276, 3, 1, 60_000)]),
        "tiff: a directory that is its own next": _tiff_in_a_circle(),
        "tiff: four million strips": _tiff_of_many(273),
        "tiff: four million bits per sample": _tiff_of_many(258),
        "tiff: four million resolutions": _tiff_of_many(282),
        "tiff: EXIF in a circle": tiff_image(WIDTH, HEIGHT, extra=[(34665, 4, 1, 8), (34853, 4, 1, 8)]),
        "tiff: size of two values": tiff_image(WIDTH, HEIGHT, extra=[(256, 4, 2, 16), (257, 4, 2, 16)]),
        "tiff: a second, larger size": tiff_image(WIDTH, HEIGHT, extra=[(256, 4, 1, BIG * 16), (257, 4, 1, BIG * 16)]),
        "tiff: a strip larger than the image": tiff_image(WIDTH, HEIGHT, extra=[(278, 4, 1, 0xFFFFFFFF)]),
        "avif: stream larger than its box": avif_stream_larger_than_its_box(),
        "avif: box behind another": avif_box_behind_another(),
        "polyglot: jpeg in png": png(ihdr(), (b"IDAT", rows()), end) + jpeg,
        "polyglot: png in jpeg": jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2000) + png(ihdr())[:1998] + jpeg[2:],
        "polyglot: html in gif": encode(".gif", gray(HEIGHT)) + b"<script>alert(1)</script>",
        "polyglot: zip in jpeg": jpeg + b"PK\x03\x04" + bytes(100),
        **{
            f"tiff: {samples} samples of {bits} bits, format {form}": tiff_image(
                WIDTH, HEIGHT, samples=samples, bits=bits, sample_format=form
            )
            for samples in (1, 3, 4, 5)
            for bits in (1, 8, 16, 32, 64)
            for form in (1, 2, 3)
        },
    }


def _jpeg_with_scans(scans: int) -> bytes:
    """Repeat the last scan of a progressive image."""
    data = encode(".jpg", gray(512), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def _tiff_of_many(tag: int) -> bytes:
    """Write a directory in which one tag has as many values as 16 MB hold."""
    many = 4 * _MEGABYTE
    tags = [entry for entry in tiff_tags(WIDTH, HEIGHT, 4 * many) if entry[0] != tag]
    return tiff(sorted([*tags, (tag, 4, many, 16)]), bytes(4 * many) + struct.pack("<6H", 8, 8, 8, 1, 1, 1))


def _tiff_in_a_circle() -> bytes:
    data = tiff_image(WIDTH, HEIGHT)
    return data[:-4] + data[4:8]
