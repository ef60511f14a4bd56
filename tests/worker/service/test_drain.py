from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from celery.worker import state

from fiqa.errors import RedisUnavailableError
from fiqa_worker.service.drain import SIGNALS, ChildDrain, MainDrain
from tests.waiting import wait_until
from tests.worker.service.stepped import SteppedClock

LIMIT_S = 10.0

pytestmark = pytest.mark.usefixtures("signals")


class Ended(Exception):  # noqa: N818  an outcome, not an error
    """The process would have ended."""


class Held:
    """Counts its releases. A release raises the given error, if any."""

    def __init__(self, error: Exception | None = None) -> None:
        self.released = 0
        self._error = error

    def release(self) -> None:
        self.released += 1
        if self._error:
            raise self._error


class Child:
    """The drain of a child. The test's thread is its main thread, and its signal has already arrived."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.drain = ChildDrain(LIMIT_S, clock=self.clock, sleep=self.clock.sleep, end=self._end)
        self.statuses: list[int] = []
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        signal.pthread_kill(threading.get_ident(), number)

    def run(self) -> None:
        """Return when the process would end."""
        with pytest.raises(Ended):
            self.drain.run()

    def _end(self, status: int) -> None:
        self.statuses.append(status)
        raise Ended


@pytest.fixture
def child() -> Child:
    return Child()


@pytest.fixture
def pool_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_child_without_a_chunk_ends_soon_with_status_0(child: Child) -> None:
    child.run()
    assert child.statuses == [0]
    assert 2.0 <= child.clock.now <= 6.0
    assert child.drain.begun.is_set()


def test_what_a_child_holds_is_released_at_once_and_in_another_thread(child: Child) -> None:
    threads: list[threading.Thread] = []
    seen_at: list[float] = []

    class Slow(Held):
        def release(self) -> None:
            threads.append(threading.current_thread())
            assert done.wait(60)
            super().release()

    done = threading.Event()
    held = Slow()
    with child.drain.holding(held):
        child.clock.at(0.05, lambda: wait_until(lambda: threads))
        child.clock.at(3.0, done.set)
        child.clock.at(3.1, lambda: wait_until(lambda: held.released))
        child.clock.at(3.2, lambda: seen_at.append(child.clock.now))
        child.run()
    assert threads[0] is not threading.current_thread()
    assert seen_at
    assert held.released == 1


def test_a_child_waits_for_its_chunk_no_longer_than_its_limit(child: Child, caplog: pytest.LogCaptureFixture) -> None:
    held = Held()
    with child.drain.holding(held):
        child.run()
    assert child.statuses == [0]
    assert LIMIT_S < child.clock.now < LIMIT_S + 0.2
    assert "drain timed out after 10 s: exit without waiting for the chunk in work" in caplog.messages


def test_a_child_whose_chunk_ends_in_time_stays_a_little_and_ends(
    child: Child, caplog: pytest.LogCaptureFixture
) -> None:
    block = child.drain.holding(Held())
    block.__enter__()
    child.clock.at(3.0, lambda: block.__exit__(None, None, None))
    child.run()
    assert child.statuses == [0]
    assert 3.0 + 2.0 <= child.clock.now < 3.0 + 6.5
    assert caplog.messages == []


def test_a_chunk_that_a_child_claimed_as_the_drain_began_is_released_before_any_work(child: Child) -> None:
    child.run()
    held = Held()
    with child.drain.holding(held):
        assert held.released == 1
    assert held.released == 1


def test_more_signals_change_nothing_for_a_child(child: Child) -> None:
    held = Held()
    with child.drain.holding(held):
        for at_s, number in enumerate(SIGNALS, start=1):
            child.clock.at(at_s, lambda number=number: child.send(number))  # type: ignore[misc]
        child.run()
    assert held.released == 1
    assert child.clock.now > LIMIT_S


def test_a_chunk_that_cannot_be_released_is_logged(child: Child, caplog: pytest.LogCaptureFixture) -> None:
    with child.drain.holding(Held(RedisUnavailableError("cannot reach Redis"))):
        child.clock.at(1.0, lambda: wait_until(lambda: caplog.messages))
        child.run()
    assert caplog.messages[0] == "chunk not released, other workers take it when its lease expires: cannot reach Redis"


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_begins_the_drain_of_the_main_process_and_others_change_nothing(
    number: signal.Signals, pool_process: subprocess.Popen[bytes]
) -> None:
    begun: list[str] = []
    slept: list[float] = []
    timed_out = threading.Event()
    statuses: list[int] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        timed_out.wait(60)

    MainDrain(
        LIMIT_S,
        lambda: begun.append("begun"),
        children=lambda: [pool_process.pid],
        sleep=sleep,
        end=statuses.append,
    ).install()
    signal.raise_signal(number)
    assert state.should_stop == 0
    assert pool_process.wait(60) == -signal.SIGTERM
    for other in SIGNALS:
        signal.raise_signal(other)
    wait_until(lambda: slept)
    assert (begun, slept, statuses) == (["begun"], [LIMIT_S + 5.0], [])
    timed_out.set()
    wait_until(lambda: statuses)


def test_children_that_are_stuck_are_killed_with_the_main_process(caplog: pytest.LogCaptureFixture) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('stuck', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as stuck:
        assert stuck.stdout
        assert stuck.stdout.readline() == b"stuck\n"
        statuses: list[int] = []
        drain = MainDrain(
            LIMIT_S, lambda: None, children=lambda: [stuck.pid], sleep=lambda _: None, end=statuses.append
        )
        drain.install()
        signal.raise_signal(signal.SIGTERM)
        assert stuck.wait(60) == -signal.SIGKILL
    wait_until(lambda: statuses)
    assert statuses == [1]
    assert any(line.startswith("drain timed out: processes are killed") for line in caplog.messages)


def test_if_one_child_has_ended_the_others_still_get_the_signal(pool_process: subprocess.Popen[bytes]) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    statuses: list[int] = []
    MainDrain(
        LIMIT_S,
        lambda: None,
        children=lambda: [gone.pid, pool_process.pid],
        sleep=lambda _: None,
        end=statuses.append,
    ).install()
    signal.raise_signal(signal.SIGINT)
    assert pool_process.wait(60) in {-signal.SIGTERM, -signal.SIGKILL}
    wait_until(lambda: statuses)
