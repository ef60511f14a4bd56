"""The size of an AVIF file is that of its streams."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from fiqa_worker.errors import DecodeFailed
from fiqa_worker.pipeline.avif import avif_size
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.headers import read_header
from tests.hostile.bombs import HEIGHT, WIDTH, encode
from tests.worker.pipeline.images import gradient


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
