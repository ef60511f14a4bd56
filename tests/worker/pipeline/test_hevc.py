from __future__ import annotations

import struct

import numpy as np
import pytest

from fiqa_worker.errors import TooManyPixels
from fiqa_worker.pipeline.decode import decode
from tests.worker.pipeline.files import pillow_file


def test_the_stream_of_a_heic_counts_and_not_only_its_box() -> None:
    data = bytearray(pillow_file(np.zeros((1200, 1000, 3), np.uint8), "HEIF", quality=20))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 16, 16)
    with pytest.raises(TooManyPixels, match=r"^16 x 16, stored in tiles or streams of 1\d+ pixels, is more than "):
        decode(bytes(data), max_pixels=1_000_000)
