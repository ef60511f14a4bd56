from __future__ import annotations

import pytest

from fiqa_worker.errors import TooLarge
from fiqa_worker.pipeline.file_bytes import LARGE_BYTES, check_size, large_buffer


def test_a_large_buffer_takes_the_bytes_of_a_file() -> None:
    with large_buffer(LARGE_BYTES) as buffer:
        assert len(buffer) == LARGE_BYTES
        buffer[-3:] = b"end"
        assert (buffer[:3], buffer[-3:]) == (bytes(3), b"end")


def test_a_file_at_the_limit_is_allowed_and_one_byte_more_is_not() -> None:
    check_size(1_000_000, 1_000_000)
    with pytest.raises(TooLarge, match=r"^1,000,001 bytes, and at most 1,000,000 are allowed$"):
        check_size(1_000_001, 1_000_000)
