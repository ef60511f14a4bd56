"""How many images each chunk of a job has, in a few characters.

"8x16 8x32 1x7" is eight chunks of 16, then eight of 32, then one of 7.

Without the sizes, a worker could not detect that a shard of the manifest lacks lines. And it would not know how many
images a lost shard had.
"""

from __future__ import annotations

import re
from typing import Final

from fiqa.contract import MAX_CHUNK_SIZE

_PATTERN: Final = re.compile(r"[0-9]{1,9}x[0-9]{1,5}( [0-9]{1,9}x[0-9]{1,5}){0,31}")


class ChunkSizes:
    """Collects the sizes of a job's chunks, in order. Its `str` is stored in the ledger and in job.json."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []  # number of chunks, images in each

    def add(self, size: int) -> None:
        """Add the next chunk."""
        if self._runs and self._runs[-1][1] == size:
            self._runs[-1] = self._runs[-1][0] + 1, size
        else:
            self._runs.append((1, size))

    def __str__(self) -> str:
        return " ".join(f"{number}x{size}" for number, size in self._runs)


def size_of(chunk: int, sizes: str) -> int:
    """Return the number of images in a chunk; 0 if `sizes` does not say it."""
    if not _PATTERN.fullmatch(sizes):
        return 0
    for run in sizes.split():
        number, size = map(int, run.split("x"))
        if chunk < number:
            return size if size <= MAX_CHUNK_SIZE else 0
        chunk -= number
    return 0
