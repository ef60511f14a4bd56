"""Work that threads do ahead of the caller, in order, with a bound on what the results hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
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
    """The results of `work`, in the order of `todo`. What it raises comes out in place of its result, and ends this.

    Args:
        work: runs in the threads.
        todo: read in the caller's thread; holds no None.
        threads: that work.
        depth: results that are ready or under way at most.
        size: bytes of a result.
        max_bytes: that these results may hold; one larger than that comes alone. One still under way is taken to be
            as large as the largest of late, and before there is any as a quarter of max_bytes.
        waiting_for: told of each before its result is waited for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    waiting: deque[tuple[T, Future[R]]] = deque()
    rest = iter(todo)
    lock = Lock()
    under_way = ready_bytes = 0
    largest = 0

    def run(one: T) -> R:
        nonlocal under_way, ready_bytes, largest
        result = work(one)
        with lock:
            under_way -= 1
            ready_bytes += size(result)
            # Fading, so that one large file does not hold up all that follow it.
            largest = max(size(result), largest * 7 // 8, max_bytes // threads)
        return result

    def fits() -> bool:
        return ready_bytes + (under_way + 1) * (largest or max_bytes // 4) <= max_bytes

    try:
        while True:
            while not waiting or (len(waiting) < depth and fits()):
                following = next(rest, None)
                if following is None:
                    break
                with lock:
                    under_way += 1
                waiting.append((following, pool.submit(run, following)))
            if not waiting:
                return
            first, future = waiting.popleft()
            waiting_for(first)
            result = future.result()
            with lock:
                ready_bytes -= size(result)
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
