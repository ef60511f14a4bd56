"""Threads for calls that may never return, such as a read from an NFS server that is gone.

A thread cannot be stopped from outside, and a thread that waits in the kernel may not even be killed. So a call that
takes too long is abandoned with its thread, and another thread takes its place.

The time of a call is counted in polls of the thread that waits for results. So the time does not count while the
process is suspended, or while the waiting thread does something else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

R = TypeVar("R")

# If a chunk is cancelled while its process waits for a call, the process notices it after this time.
POLL_S: Final = 0.25
_abandoned: set[threading.Thread] = set()


class StuckError(Exception):
    """A call took too long. It was abandoned with its thread."""


def abandoned() -> int:
    """Return how many threads of this process were abandoned and have not ended."""
    _abandoned.difference_update([thread for thread in _abandoned if not thread.is_alive()])
    return len(_abandoned)


class Call(Generic[R]):
    """A call that one thread makes, and for which another thread waits."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        # A Future would also work. But it takes 6 us more, as much as all other steps to prefetch an image.
        self._running = threading.Lock()
        self._running.acquire()
        self._result: R
        self._error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.polls_at_start = 0

    def make(self, polls: int) -> None:
        """Make the call in this thread."""
        self.polls_at_start, self.thread = polls, threading.current_thread()
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  raised in the thread that waits for the result
            self._error = error
        # It may refer to the caller's record of this call, and thus to the result. Such a cycle would keep images until
        # Python looks for cycles: 3.8 GB with 8 images of 100 megapixels, now 1.4.
        del self._work
        self._running.release()

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end of the call, for at most this time.

        Return whether it has ended. It returns True only once.
        """
        return self._running.acquire(timeout=timeout_s)

    def result(self) -> R:
        """Return the result of a call that has ended, or raise its error."""
        if self._error:
            raise self._error
        return self._result


class ExpendableThreads:
    """A few threads that make calls. One thread starts the calls and waits for them."""

    def __init__(self, number: int, *, name: str) -> None:
        """Create it. No thread is started yet.

        Args:
            number: the largest number of threads that make calls at the same time, without the abandoned ones.
            name: the name of the threads.
        """
        self._number = number
        self._name = name
        self._todo: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._polls = 0
        self._threads: set[threading.Thread] = set()

    def start(self, work: Callable[[], R]) -> Call[R]:
        """Let a thread make a call, as soon as one is free."""
        call = Call(work)
        if len(self._threads) < self._number:
            self._add_thread()
        self._todo.put(call)
        return call

    def wait(self, call: Call[R], *, limit_s: float | None, check: Callable[[], object] = lambda: None) -> R:
        """Return the result of a call, or raise its error.

        Args:
            call: a call that `start` has returned.
            limit_s: how long the call may take once a thread has begun it. None: without a limit.
            check: called at each poll. It may raise, to end the wait.

        Raises:
            StuckError: it took longer.
        """
        while True:
            too_long = limit_s is not None and call.thread and (self._polls - call.polls_at_start) * POLL_S > limit_s
            if call.ended(0 if too_long else POLL_S):
                return call.result()
            if call.thread and too_long:
                _abandoned.add(call.thread)
                self._threads.discard(call.thread)
                if not self._todo.empty():
                    self._add_thread()
                raise StuckError
            self._polls += 1
            check()

    def close(self) -> None:
        """Let the threads end after the calls that they make now. Do not wait for them."""
        with suppress(Empty):  # a thread may take the last call at the same time
            while True:
                self._todo.get_nowait()
        abandoned()  # this forgets the threads that have ended
        _abandoned.update(self._threads)
        self._todo.put(None)

    def _add_thread(self) -> None:
        # A daemon, since the interpreter waits for all other threads before it exits.
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        while threading.current_thread() not in _abandoned:
            call = self._todo.get()
            if call is None:
                self._todo.put(None)  # for the next thread
                return
            call.make(self._polls)
            del call  # a thread that waits must not keep the result
