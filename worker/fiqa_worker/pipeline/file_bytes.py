"""The bytes of one image file, in memory, and the limit on their number."""

from __future__ import annotations

from mmap import ACCESS_COPY, mmap
from typing import Final, TypeAlias

from fiqa.text import count
from fiqa_worker.errors import TooLarge

FileBytes: TypeAlias = bytes | mmap

LARGE_BYTES: Final = 1 << 20


def large_buffer(size: int) -> mmap:
    """Allocate memory for a file of LARGE_BYTES or more.

    A large file is read into an anonymous mmap. Freeing it returns the memory to the system. On the heap, the file
    would fragment the memory that is kept for the next decoded image.
    """
    return mmap(-1, size, access=ACCESS_COPY)


def check_size(size: int, max_bytes: int) -> None:
    """Raise TooLarge if a file has more bytes than are allowed."""
    if size > max_bytes:
        raise TooLarge(f"{count(size, 'byte')}, and at most {max_bytes:,} are allowed")
