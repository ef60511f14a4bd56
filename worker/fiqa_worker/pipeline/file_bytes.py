"""The bytes of one image file, in memory, and the limit on their number."""

from __future__ import annotations

from mmap import ACCESS_COPY, mmap
from typing import Final, TypeAlias

from fiqa_worker.errors import TooLarge

FileBytes: TypeAlias = bytes | mmap

LARGE_BYTES: Final = 1 << 20


def large_buffer(size: int) -> mmap:
    """Make room for a file of LARGE_BYTES or more.

    Large files are read into an anonymous mmap: to free it returns the memory to the system. On the heap, whose memory
    is kept for the next decoded image, a large file would fragment it.
    """
    return mmap(-1, size, access=ACCESS_COPY)


def check_size(size: int, max_bytes: int) -> None:
    """Raise TooLarge if a file has more bytes than are allowed."""
    if size > max_bytes:
        raise TooLarge(f"{size:,} bytes, and at most {max_bytes:,} are allowed")
