from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from fiqa.window import in_order

THREADS = 4


def window_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("window")]


def test_results_come_in_order_whatever_is_done_first() -> None:
    done = [threading.Event() for _ in range(20)]

    def work(number: int) -> int:
        # Of each two, the second is done first.
        if number % 2 == 0:
            assert done[number + 1].wait(60)
        done[number].set()
        return -number

    results = list(in_order(work, range(20), threads=THREADS, name="window"))
    assert results == [(number, -number) for number in range(20)]
    assert window_threads() == []


def test_nothing_to_do_yields_nothing() -> None:
    assert list(in_order(str, [], threads=THREADS, name="window")) == []


def test_items_are_taken_only_as_far_as_there_are_threads() -> None:
    taken: list[int] = []

    def todo() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with closing(in_order(str, todo(), threads=THREADS, name="window")) as results:
        for number in range(3):
            assert next(results) == (number, str(number))
            assert len(taken) == number + THREADS


def test_an_error_comes_in_place_of_its_result_and_ends_the_window() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        if number == 2:
            raise LookupError("two")
        return number

    results = in_order(work, range(100), threads=2, name="window")
    assert [next(results), next(results)] == [(0, 0), (1, 1)]
    with pytest.raises(LookupError, match="two"):
        next(results)
    assert window_threads() == []
    assert len(started) <= 4  # what was in the threads


def test_an_error_of_the_source_ends_the_window() -> None:
    def todo() -> Iterator[int]:
        yield from range(THREADS)
        raise LookupError("the source went away")

    with pytest.raises(LookupError, match="the source went away"):
        list(in_order(str, todo(), threads=THREADS, name="window"))
    assert window_threads() == []


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    with closing(in_order(str, range(100), threads=THREADS, name="window")) as results:
        assert next(results) == (0, "0")
    assert window_threads() == []
