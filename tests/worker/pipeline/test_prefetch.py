from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from fiqa_worker.pipeline.prefetch import ahead
from tests.waiting import WAIT_S


def test_results_come_in_order_however_long_each_takes() -> None:
    later = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert later.wait(WAIT_S)
        if number == 3:
            later.set()
        return number * number

    found = ahead(work, range(20), threads=4, depth=8, size=lambda _: 0, max_bytes=100)
    assert list(found) == [number * number for number in range(20)]


def test_what_is_waited_for_is_told_before_it_is_there() -> None:
    told = threading.Event()
    order: list[int] = []

    def work(number: int) -> int:
        assert number or told.wait(WAIT_S)
        return number

    def waiting_for(number: int) -> None:
        order.append(number)
        told.set()

    results = ahead(work, range(5), threads=2, depth=2, size=lambda _: 0, max_bytes=1, waiting_for=waiting_for)
    assert list(results) == order == list(range(5))


def _most_begun(size: Callable[[bytes], int], depth: int, max_bytes: int, results: int) -> int:
    """How many works have begun, at most, beyond the results taken, once all that may begin has."""
    begun = []
    beyond = 0

    def work(number: int) -> bytes:
        begun.append(number)
        return b"x" * 10

    found = ahead(work, range(50), threads=4, depth=depth, size=size, max_bytes=max_bytes)
    for taken in range(results):
        next(found)
        beyond = max(beyond, len(begun) - taken - 1)
    return beyond


def test_no_more_than_depth_results_wait() -> None:
    assert _most_begun(len, depth=5, max_bytes=10_000, results=40) <= 5


def test_no_more_bytes_than_allowed_wait() -> None:
    assert _most_begun(len, depth=50, max_bytes=40, results=40) <= 4


def test_a_result_larger_than_all_that_may_wait_comes_alone() -> None:
    assert _most_begun(lambda _: 1_000, depth=50, max_bytes=40, results=40) <= 4  # four are guessed small at first
    assert list(ahead(str, range(9), threads=4, depth=9, size=lambda _: 1_000, max_bytes=40)) == list("012345678")


def test_what_the_work_raises_comes_out_in_its_place() -> None:
    def work(number: int) -> int:
        return 6 // (3 - number)

    found = ahead(work, range(9), threads=2, depth=4, size=lambda _: 0, max_bytes=1)
    assert [next(found), next(found), next(found)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)
