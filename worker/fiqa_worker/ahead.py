"""Work that threads do ahead of the caller, in order, with a bound on what the results hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    work: Callable[[T], R],
    todo: Iterable[T],
    *,
    threads: int,
    depth: int,
    size: Callable[[R], int],
    max_bytes: int,
    waiting_for: Callable[[T], None] = lambda _: None,
) -> Iterator[R]:
    """The results of `work`, in the order of `todo`.

    Args:
        work: runs in the threads, and does not raise.
        todo: read in the caller's thread.
        threads: that work.
        depth: results that are ready or under way at most.
        size: bytes of a result.
        max_bytes: that these results may hold; one larger than that comes alone. One still under way is taken to be
            as large as the largest yet.
        waiting_for: told of each before its result is waited for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    under_way: deque[tuple[T, Future[R]]] = deque()
    rest = iter(todo)
    largest = max_bytes // threads

    def held() -> int:
        return sum(size(future.result()) if future.done() else largest for _, future in under_way)

    try:
        while True:
            while not under_way or (len(under_way) < depth and held() + largest <= max_bytes):
                for following in rest:
                    under_way.append((following, pool.submit(work, following)))
                    break
                else:
                    break
            if not under_way:
                return
            first, future = under_way.popleft()
            waiting_for(first)
            result = future.result()
            largest = max(largest, size(result))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
