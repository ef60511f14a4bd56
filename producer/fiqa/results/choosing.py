"""Chooses images by comparing them: the best image of each caller's id, and the N best or worst images."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final

from fiqa.contract import ImageResult
from fiqa.errors import OutputError, UsageError

# SQLite keeps this much of its file in memory.
_CACHE_KIB: Final = 64 * 1024


def best_per_id(results: Iterable[ImageResult]) -> Iterator[ImageResult]:
    """Yield the best image of each id, in the order in which the ids first appear.

    The best image is the one whose first face has the highest quality; of equal ones it is the first. Images without an
    id or without a face are left out. All but a few megabytes are kept in a temporary file, so that a million ids need
    no more memory than a thousand.

    Raises:
        UsageError: two quality models scored these results.
        OutputError: the temporary file cannot be written.
    """
    try:
        # A file without a name: it is never left behind. The caller's threads may take turns.
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as file:
            file.execute("PRAGMA journal_mode = OFF")
            file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            file.execute("BEGIN")  # one transaction for each line would take several times as long
            file.execute("CREATE TABLE best (id BLOB PRIMARY KEY, quality REAL, line BLOB)")
            for result in _of_one_model(results):
                if result.id is not None:
                    file.execute(
                        "INSERT INTO best VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET quality = excluded.quality,"
                        " line = excluded.line WHERE excluded.quality > quality",
                        (result.id.encode(), result.faces[0].quality, result.encode()),
                    )
            for (line,) in file.execute("SELECT line FROM best ORDER BY rowid"):
                yield ImageResult.decode(line)
    except sqlite3.Error as error:
        raise OutputError(
            f"cannot keep the best image of each id in a temporary file: {error}: set TMPDIR to a folder with more room"
        ) from error


def extreme(results: Iterable[ImageResult], number: int, *, worst: bool = False) -> list[ImageResult]:
    """Return the images whose first face has the highest quality, the best first.

    Images without a face are left out. Of images with equal quality, the first ones are chosen. The memory depends on
    `number` only.

    Args:
        results: all images.
        number: how many to return, at most.
        worst: return those of the lowest quality instead, the worst first.

    Raises:
        UsageError: two quality models scored these results.
    """
    # The first place of the heap holds the next image to drop. The place keeps images of equal quality in their order.
    heap: list[tuple[float, int, bytes]] = []
    for place, result in enumerate(_of_one_model(results)):
        quality = result.faces[0].quality
        key = (-quality if worst else quality, -place)
        if len(heap) < number:
            heapq.heappush(heap, (*key, result.encode()))
        elif key > heap[0][:2]:
            heapq.heapreplace(heap, (*key, result.encode()))
    return [ImageResult.decode(line) for *_, line in sorted(heap, reverse=True)]


def _of_one_model(results: Iterable[ImageResult]) -> Iterator[ImageResult]:
    """Yield the results with a face, and check that one quality model scored all of them."""
    model = None
    for result in results:
        if result.faces:
            model = model or result.quality_model
            if result.quality_model != model:
                raise UsageError(
                    f"two quality models scored these images, {model} and {result.quality_model}:"
                    " their scores cannot be compared, so no image is better than another"
                )
            yield result
