"""Threads for calls that may never return, such as a read from an NFS server that is gone.

No thread can be stopped from outside, and one that waits in the kernel cannot even be killed. So a call that takes too
long is left behind with its thread, and another thread takes its place.

Time is counted in polls of the thread that waits. A process that is suspended polls nothing, so no call is blamed for
that time. Nor is a call for the time in which the thread that waits does something else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

R = TypeVar("R")

# A process that waits for a call notices so soon that its chunk was cancelled.
POLL_S: Final = 0.25
_left_behind: set[threading.Thread] = set()


class StuckError(Exception):
    """A call took too long. Its thread was left behind."""


def left_behind() -> int:
    """Return how many threads of this process were left behind and are still stuck."""
    _left_behind.difference_update([thread for thread in _left_behind if not thread.is_alive()])
    return len(_left_behind)


class Call(Generic[R]):
    """A call that a thread makes, or will make. One other thread waits for it."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        # A Future would do, and costs 6 us more: as much as all the rest of the prefetch of an image.
        self._running = threading.Lock()
        self._running.acquire()
        self._result: R
        self._error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.begun_at = 0

    def make(self, polls: int) -> None:
        """Make the call in this thread."""
        self.begun_at, self.thread = polls, threading.current_thread()
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  raised where the result is waited for
            self._error = error
        self._running.release()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end of the call, for so long at most. Return whether it has ended; at most once True."""
        return self._running.acquire(timeout=timeout_s)

    def result(self) -> R:
        """Return the result of a call that has ended, or raise its error."""
        if self._error:
            raise self._error
        return self._result


class ExpendableThreads:
    """A few threads that make calls. One thread starts the calls and waits for them."""

    def __init__(self, number: int, *, name: str) -> None:
        """Start no thread yet.

        Args:
            number: the most threads that make calls at the same time, apart from those that were left behind.
            name: of the threads.
        """
        self._number = number
        self._name = name
        self._todo: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._polls = 0
        self._threads = 0
        self._started = 0

    def start(self, work: Callable[[], R]) -> Call[R]:
        """Let a thread make a call, as soon as one is free."""
        call = Call(work)
        if self._threads < self._number:
            self._add_thread()
        self._todo.put(call)
        return call

    def wait(self, call: Call[R], *, limit_s: float | None, check: Callable[[], object] = lambda: None) -> R:
        """Return the result of a call, or raise its error.

        Args:
            call: of this object.
            limit_s: how long the call may take once a thread has begun it; None for any time.
            check: called at each poll. It may raise, to end the wait.

        Raises:
            StuckError: it took longer.
        """
        while True:
            too_long = limit_s is not None and call.thread and (self._polls - call.begun_at) * POLL_S > limit_s
            if call.ended(0 if too_long else POLL_S):
                return call.result()
            if call.thread and too_long:
                _left_behind.add(call.thread)
                self._threads -= 1
                if not self._todo.empty():
                    self._add_thread()
                raise StuckError
            self._polls += 1
            check()

    def close(self) -> None:
        """Let the threads end after the calls that they make now. Nobody waits for that."""
        with suppress(Empty):  # a thread may take the last one first
            while True:
                self._todo.get_nowait()
        for _ in range(self._started):
            self._todo.put(None)

    def _add_thread(self) -> None:
        self._threads += 1
        self._started += 1
        # A daemon: the interpreter waits for all others before it exits.
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        while threading.current_thread() not in _left_behind and (call := self._todo.get()):
            call.make(self._polls)
