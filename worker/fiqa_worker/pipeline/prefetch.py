"""Threads that work before the caller needs the results. Results come in order, and their bytes are limited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import TypeVar

from fiqa.window import in_order

T = TypeVar("T")
R = TypeVar("R")


def prefetch(
    work: Callable[[T], R],
    todo: Iterable[T],
    *,
    threads: int,
    depth: int,
    size: Callable[[R], int],
    max_bytes: int,
    on_wait: Callable[[T], None] = lambda _: None,
) -> Iterator[R]:
    """Yield the results of `work`, in the order of `todo`.

    An error of `work` is raised in place of its result, and ends the iteration.

    Args:
        work: runs in the threads.
        todo: the items. They are read in the caller's thread, and only as far as the limits allow.
        threads: the number of threads that run `work`.
        depth: the largest number of results that are ready or in progress.
        size: returns the bytes that a result holds.
        max_bytes: the limit for all ready results together. A larger result is held alone. A result in progress counts
            as much as the largest of the last results. The first results count a quarter of max_bytes each.
        on_wait: called with an item before the caller waits for its result.
    """
    lock = Lock()
    in_progress = ready_bytes = largest = 0

    def started() -> Iterator[T]:
        nonlocal in_progress
        for item in todo:
            with lock:
                in_progress += 1
            yield item

    def run(item: T) -> R:
        nonlocal in_progress, ready_bytes, largest
        result = work(item)
        with lock:
            in_progress -= 1
            ready_bytes += size(result)
            # An eighth less each time, so that one large file does not delay all later files.
            largest = max(size(result), largest * 7 // 8, max_bytes // threads)
        return result

    def admits() -> bool:
        return ready_bytes + (in_progress + 1) * (largest or max_bytes // 4) <= max_bytes

    results = in_order(
        run, started(), threads=threads, name="prefetch", depth=depth, admits=admits, on_wait=on_wait, join=False
    )
    for _, result in results:
        with lock:
            ready_bytes -= size(result)
        yield result
