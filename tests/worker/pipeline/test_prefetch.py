from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import ref

import pytest

from fiqa_worker.pipeline.expendable import abandoned
from fiqa_worker.pipeline.prefetch import prefetch
from tests.waiting import WAIT_S, wait_until


def test_results_come_in_order_even_if_the_first_takes_longest() -> None:
    later = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert later.wait(WAIT_S)
        if number == 3:
            later.set()
        return number * number

    found = prefetch(work, range(20), threads=4, depth=8, size=lambda _: 0, max_bytes=100)
    assert list(found) == [number * number for number in range(20)]


def _most_begun(size: Callable[[bytes], int], depth: int, max_bytes: int, results: int) -> int:
    """Return the largest number of items that had started, and whose results were not taken yet."""
    begun = []
    beyond = 0

    def work(number: int) -> bytes:
        begun.append(number)
        return b"x" * 10

    found = prefetch(work, range(50), threads=4, depth=depth, size=size, max_bytes=max_bytes)
    for taken in range(results):
        next(found)
        beyond = max(beyond, len(begun) - taken - 1)
    return beyond


def test_no_more_than_depth_results_wait() -> None:
    assert _most_begun(len, depth=5, max_bytes=10_000, results=40) <= 5


def test_no_more_bytes_wait_than_are_allowed() -> None:
    assert _most_begun(len, depth=50, max_bytes=40, results=40) <= 4


def test_a_result_larger_than_the_bound_is_held_alone() -> None:
    assert _most_begun(lambda _: 1_000, depth=50, max_bytes=40, results=40) <= 4  # the first four count as small
    assert list(prefetch(str, range(9), threads=4, depth=9, size=lambda _: 1_000, max_bytes=40)) == list("012345678")


def test_no_thread_keeps_a_result_that_the_caller_has_dropped() -> None:
    class Image:
        pass

    images = prefetch(lambda _: Image(), range(8), threads=4, depth=8, size=lambda _: 0, max_bytes=100)
    seen = [ref(next(images)) for _ in range(8)]
    # The iteration has not ended, so its threads wait. It may hold the newest result.
    wait_until(lambda: not any(image() for image in seen[:-1]))
    assert list(images) == []


def test_an_error_of_the_work_is_raised_in_place_of_its_result() -> None:
    def work(number: int) -> int:
        return 6 // (3 - number)

    found = prefetch(work, range(9), threads=2, depth=4, size=lambda _: 0, max_bytes=1)
    assert [next(found), next(found), next(found)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_an_item_that_is_stuck_has_a_result_of_its_own_and_no_other_item_is_charged() -> None:
    freed = threading.Event()

    def work(number: int) -> int:
        if number % 3 == 0:
            freed.wait()
        return number

    results = prefetch(
        work,
        range(30),
        threads=2,
        depth=4,
        size=lambda _: 0,
        max_bytes=1,
        limit_s=0.5,
        if_stuck=lambda number: -number,
    )
    assert list(results) == [number if number % 3 else -number for number in range(30)]
    assert abandoned() >= 10  # five times as many as there are threads
    freed.set()
    wait_until(lambda: abandoned() == 0)


def test_a_caller_that_waits_can_be_stopped() -> None:
    freed = threading.Event()

    def check() -> None:
        raise LookupError("cancelled")

    results = prefetch(lambda _: freed.wait(), range(9), threads=2, depth=4, size=lambda _: 0, max_bytes=1, check=check)
    with pytest.raises(LookupError, match="cancelled"):
        next(results)
    freed.set()


def test_work_that_has_not_started_when_the_caller_stops_never_starts() -> None:
    started: list[int] = []
    freed = threading.Event()
    before = set(threading.enumerate())

    def work(number: int) -> int:
        started.append(number)
        assert number == 0 or freed.wait(WAIT_S)
        return number

    results = prefetch(work, range(9), threads=2, depth=9, size=lambda _: 0, max_bytes=1)
    assert next(results) == 0
    del results
    freed.set()
    wait_until(lambda: set(threading.enumerate()) <= before)
    assert len(started) <= 4
