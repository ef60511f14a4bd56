"""An ordered window of threads: work that is done in parallel and comes out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R],
    todo: Iterable[T],
    *,
    threads: int,
    name: str,
    depth: int | None = None,
    admits: Callable[[], bool] = lambda: True,
    on_wait: Callable[[T], None] = lambda _: None,
    join: bool = True,
) -> Generator[tuple[T, R], None, None]:
    """Yield each item of `todo` with the result of `work`, in the order of `todo`.

    An error of `work` is raised in place of its result, and ends the iteration. Work that has not started by then is
    cancelled.

    Args:
        work: runs in the threads.
        todo: is read in the caller's thread, only as far as the window reaches.
        threads: how many run `work`.
        name: prefix of the threads' names.
        depth: the most results that are ready or in progress; None for as many as there are threads.
        admits: called before an item is started while others are in the window. False lets the item wait.
        on_wait: called with an item before the caller waits for its result.
        join: wait at the end for work that has started.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    waiting: deque[tuple[T, Future[R]]] = deque()
    rest = iter(todo)
    most = threads if depth is None else depth
    exhausted = False
    try:
        while True:
            while not exhausted and (not waiting or (len(waiting) < most and admits())):
                try:
                    item = next(rest)
                except StopIteration:
                    exhausted = True
                else:
                    waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            on_wait(item)
            yield item, future.result()
    finally:
        pool.shutdown(wait=join, cancel_futures=True)
