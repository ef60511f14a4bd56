"""Threads that work before the caller needs the results. Results come in order, and their bytes are limited."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NoReturn, TypeVar

from fiqa_worker.pipeline.expendable import Call, ExpendableThreads, StuckError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Ahead(Generic[T, R]):
    """An item in the window."""

    item: T
    call: Call[R] = field(init=False)
    bytes_held: int | None = None  # None while the work is in progress


def _never(item: object) -> NoReturn:
    raise AssertionError(item)


def prefetch(
    work: Callable[[T], R],
    todo: Iterable[T],
    *,
    threads: int,
    depth: int,
    size: Callable[[R], int],
    max_bytes: int,
    check: Callable[[], object] = lambda: None,
    limit_s: float | None = None,
    if_stuck: Callable[[T], R] = _never,
) -> Iterator[R]:
    """Yield the results of `work`, in the order of `todo`.

    An error of `work` is raised in place of its result, and ends the iteration. Work that has not started by then never
    starts. Nobody waits for work that has started.

    Args:
        work: runs in the threads.
        todo: the items. They are read in the caller's thread, and only as far as the limits allow.
        threads: the number of threads that run `work`.
        depth: the largest number of results that are ready or in progress.
        size: returns the bytes that a result holds.
        max_bytes: the limit for all ready results together. A larger result is held alone. A result in progress counts
            as much as the largest of the last results. The first results count a quarter of max_bytes each.
        check: called a few times a second while the caller waits. It may raise, to end the iteration.
        limit_s: how long the work for one item may take, from its start in a thread. None: without a limit.
        if_stuck: returns the result of an item whose work took too long.
    """
    largest = 0
    window: deque[_Ahead[T, R]] = deque()
    pool = ExpendableThreads(threads, name="prefetch")

    def run(ahead: _Ahead[T, R]) -> R:
        nonlocal largest
        result = work(ahead.item)
        ahead.bytes_held = size(result)
        # An eighth less each time, so that one large file does not delay all later files.
        largest = max(ahead.bytes_held, largest * 7 // 8, max_bytes // threads)
        return result

    def admits() -> bool:
        if not window:
            return True
        expected = largest or max_bytes // 4
        held = sum(expected if ahead.bytes_held is None else ahead.bytes_held for ahead in window)
        return len(window) < depth and held + expected <= max_bytes

    rest = iter(todo)
    exhausted = False
    try:
        while True:
            while not exhausted and admits():
                try:
                    ahead: _Ahead[T, R] = _Ahead(next(rest))
                except StopIteration:
                    exhausted = True
                else:
                    ahead.call = pool.start(partial(run, ahead))
                    window.append(ahead)
            if not window:
                return
            try:
                result = pool.wait(window[0].call, limit_s=limit_s, check=check)
            except StuckError:
                result = if_stuck(window[0].item)
            window.popleft()
            yield result
    finally:
        pool.close()
