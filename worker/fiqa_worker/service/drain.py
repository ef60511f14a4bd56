"""Ending a worker within a set time: the main process tells its children, and these give their chunks back at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from billiard.process import active_children
from celery.worker import state

from fiqa.errors import RedisUnavailableError

_log = logging.getLogger(__name__)

# What people, supervisors and terminals send to end a process, or a whole group of them; all mean the same.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

# From the end of a child's task to its exit: the main process takes note of the task, and closes the pool.
_CHILD_LINGERS_S: Final = 2.0
# From the time when the last child has ended to the end of the main process: tickets go back to the queue.
_MAIN_LINGERS_S: Final = 5.0


class MainDrain:
    """In the main process: one signal begins the drain, others change nothing."""

    def __init__(self, limit_s: float, on_begin: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._on_begin = on_begin
        self._begun = False

    def install(self) -> None:
        """Take the place of Celery's handlers, which wait for children without end."""
        for number in SIGNALS:
            signal.signal(number, self._begin)

    def _begin(self, number: int, _: FrameType | None) -> None:
        if self._begun:
            return
        self._begun = True
        # Celery's event loop, and its reconnecting, look at this every second and then stop in order.
        state.should_stop = 0
        children = [child.pid for child in active_children()]
        _tell(children, signal.SIGTERM)
        # No line is logged here: the signal may have come in the middle of one.
        threading.Thread(target=self._watch, args=(number, children), name="drain", daemon=True).start()

    def _watch(self, number: int, children: list[int]) -> None:
        _log.info("%s: ending within %g s, chunks are given back", signal.Signals(number).name, self._limit_s)
        self._on_begin()
        time.sleep(self._limit_s + _MAIN_LINGERS_S)
        _log.error("this process hangs and is cut off; what it still held is done by others within 20 s")
        _tell(children, signal.SIGKILL)
        os._exit(1)


class ChildDrain(threading.Thread):
    """In a child: waits for the signal in a thread, since the main one may be deep in a decoder or a fetch.

    Attributes:
        begun: this process takes no chunk any more.
    """

    def __init__(self, limit_s: float) -> None:
        """To be made in the main thread before there are others, which inherit that the signals are held up."""
        super().__init__(name="drain", daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.begun = threading.Event()
        self._limit_s = limit_s
        self._release: Callable[[], None] | None = None

    @contextmanager
    def holding(self, release: Callable[[], None]) -> Iterator[None]:
        """What is to be done, at once and in another thread, if the drain begins during this block."""
        self._release = release
        try:
            if self.begun.is_set():
                release()
            yield
        finally:
            self._release = None

    def run(self) -> None:
        signal.sigwait(SIGNALS)
        deadline = time.monotonic() + self._limit_s
        self.begun.set()
        if self._release is not None:
            # In a thread of its own, since Redis may hang.
            threading.Thread(target=self._try, args=(self._release,), daemon=True).start()
        while self._release is not None:
            if time.monotonic() > deadline:
                _log.warning("still busy after %g s: this process ends without waiting", self._limit_s)
                os._exit(0)
            time.sleep(0.05)
        # Longer while there is time: a main process that was held up takes the end for a loss and starts another.
        time.sleep(max(_CHILD_LINGERS_S, min(3 * _CHILD_LINGERS_S, deadline - time.monotonic())))
        os._exit(0)

    def _try(self, release: Callable[[], None]) -> None:
        try:
            release()
        except RedisUnavailableError as error:
            _log.warning("not given back, others do it when the lease runs out: %s", error)


def _tell(children: list[int], number: signal.Signals) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, number)
