"""An ordered window of threads: they work in parallel, and the results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], todo: Iterable[T], *, threads: int, name: str
) -> Generator[tuple[T, R], None, None]:
    """Yield each item of `todo` with the result of `work`, in the order of `todo`.

    An error of `work` is raised in place of its result, and ends the iteration. Work that has not started by then is
    cancelled, and work that has started is waited for.

    Args:
        work: runs in the threads.
        todo: the items. They are read in the caller's thread, and only as far as there are free threads.
        threads: the number of threads that run `work`.
        name: prefix of the threads' names.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    waiting: deque[tuple[T, Future[R]]] = deque()
    rest = iter(todo)
    exhausted = False
    try:
        while True:
            while not exhausted and len(waiting) < threads:
                try:
                    item = next(rest)
                except StopIteration:
                    exhausted = True
                else:
                    waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
