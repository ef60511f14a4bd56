"""Time that passes only when a test lets it pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

from tests.waiting import WAIT_S

_POLL_S: Final = 0.005


class SteppedClock:
    """Takes the place of time.monotonic, time.sleep and Event.wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self._plan: list[tuple[float, Callable[[], object]]] = []
        self._waiting_s = 0.0
        self._waits = threading.Semaphore(0)
        self._goes_on = threading.Semaphore(0)

    def __call__(self) -> float:
        return self.now

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Call the action once, as soon as a sleep passes this time."""
        self._plan.append((seconds, action))

    def sleep(self, seconds: float) -> None:
        """Return at once, and advance the clock."""
        self.now += seconds
        due = [action for moment, action in self._plan if moment <= self.now]
        self._plan = [(moment, action) for moment, action in self._plan if moment > self.now]
        for action in due:
            action()

    def wait(self, ended: threading.Event, seconds: float) -> bool:
        """Return in the next step, or when the event is set. Only one thread may wait."""
        self._waiting_s = seconds
        self._waits.release()
        while not ended.wait(_POLL_S):
            if self._goes_on.acquire(blocking=False):
                return False
        return True

    def step(self) -> None:
        """Let the waiting thread do one round. The clock advances by the time that it waits for."""
        self.go_on()
        assert self._waits.acquire(timeout=WAIT_S)
        self._waits.release()

    def go_on(self) -> None:
        """Let the waiting thread go on, and do not wait for the end of its round."""
        assert self._waits.acquire(timeout=WAIT_S)
        self.now += self._waiting_s
        self._goes_on.release()


class Over(Exception):  # noqa: N818  an outcome, not an error
    """All rounds of a test are done."""


def rounds(*actions: Callable[[], object]) -> Callable[[float], None]:
    """Return a sleep for an endless loop. Each call does the next action. After the last action it raises Over."""
    left: Iterator[Callable[[], object]] = iter(actions)

    def sleep(_: float) -> None:
        for action in left:
            action()
            return
        raise Over

    return sleep


def nothing() -> None:
    """Let a round pass."""
