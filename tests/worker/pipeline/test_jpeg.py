"""Each kind of JPEG is read as a viewer shows it, or named as one that is not read."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiqa_worker.errors import DecodeFailed
from fiqa_worker.pipeline.decode import decode, decode_reduced
from tests.hostile import bombs
from tests.hostile.bombs import HEIGHT
from tests.worker.pipeline.files import pillow_file
from tests.worker.pipeline.images import jpeg, resized
from tests.worker.pipeline.looks import (
    COLOR,
    assert_shows,
    refused,
)

MAX_PIXELS = 1_000_000


def test_fill_bytes_of_a_jpeg_are_skipped_however_many_there_are() -> None:
    assert decode(bombs.bombs()["jpeg: a megabyte of fill bytes"], max_pixels=MAX_PIXELS).shape == (HEIGHT, HEIGHT, 3)


JPEG = jpeg(COLOR[..., ::-1])


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
