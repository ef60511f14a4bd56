"""Ends a worker within a time limit.

The main process passes the signal on to its children. Every child releases its chunk at once.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, Protocol

from billiard.process import active_children
from celery.worker import state

from fiqa.errors import RedisUnavailableError

_log = logging.getLogger(__name__)

# What people, supervisors and terminals send to end a process or a process group. All of them have the same effect
# here.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

# How long a child stays after its task. In this time the main process learns that the task has ended, and closes the
# pool.
_CHILD_LINGERS_S: Final = 2.0
# How long the main process may take after the last child has ended. In this time it puts its tickets back into the
# queue.
_MAIN_LINGERS_S: Final = 5.0
_POLL_S: Final = 0.05


class Releasable(Protocol):
    """Something that a child holds and must release before it ends."""

    def release(self) -> None:
        """Release it for other workers. It is called in another thread, at most once.

        Raises:
            RedisUnavailableError: it cannot be released now. Other workers take it when its lease expires.
        """


def _children() -> list[int]:
    return [child.pid for child in active_children()]


class MainDrain:
    """The drain of the main process. The first signal begins it. Later signals change nothing."""

    def __init__(
        self,
        limit_s: float,
        on_begin: Callable[[], None],
        *,
        children: Callable[[], Iterable[int]] = _children,
        sleep: Callable[[float], object] = time.sleep,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Nothing happens before `install`.

        Args:
            limit_s: how long the children may take.
            on_begin: called once, in a thread, when the drain begins.
            children: returns the process ids of the pool.
            sleep: a function like time.sleep.
            end: ends this process at once, with an exit status.
        """
        self._limit_s = limit_s
        self._on_begin = on_begin
        self._children = children
        self._sleep = sleep
        self._end = end
        self._begun = False

    def install(self) -> None:
        """Replace Celery's signal handlers, which wait for the children without a limit."""
        for number in SIGNALS:
            signal.signal(number, self._begin)

    def _begin(self, number: int, _: FrameType | None) -> None:
        if self._begun:
            return
        self._begun = True
        # Celery's event loop and its reconnect loop read this every second. If it is set, they stop normally.
        state.should_stop = 0
        children = list(self._children())
        _send(children, signal.SIGTERM)
        # Do not log here: the signal may have interrupted a thread that is writing a log line.
        threading.Thread(target=self._watch, args=(number, children), name="drain", daemon=True).start()

    def _watch(self, number: int, children: list[int]) -> None:
        _log.info("%s received: releasing chunks, exit within %g s", signal.Signals(number).name, self._limit_s)
        self._on_begin()
        self._sleep(self._limit_s + _MAIN_LINGERS_S)
        _log.error("drain timed out: processes are killed; other workers take over their chunks within 20 s")
        _send(children, signal.SIGKILL)
        self._end(1)


class ChildDrain(threading.Thread):
    """The drain of a child. A thread waits for the signal, since the main thread may be inside a decoder or a fetch.

    Attributes:
        begun: an event that is set when this process must take no more chunks.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Block the signals.

        Create it in the main thread before any other thread starts: threads inherit the signal mask.

        Args:
            limit_s: how long the chunk in work may take to end after the signal.
            clock: a function like time.monotonic.
            sleep: a function like time.sleep.
            end: ends this process at once, with an exit status.
        """
        super().__init__(name="drain", daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.begun = threading.Event()
        self._limit_s = limit_s
        self._clock = clock
        self._sleep = sleep
        self._end = end
        self._held: Releasable | None = None

    @contextmanager
    def holding(self, held: Releasable) -> Iterator[None]:
        """If the drain begins during the block, release `held` at once, in another thread."""
        self._held = held
        try:
            if self.begun.is_set():
                held.release()
            yield
        finally:
            self._held = None

    def run(self) -> None:
        signal.sigwait(SIGNALS)
        deadline = self._clock() + self._limit_s
        self.begun.set()
        held = self._held  # the main thread may clear it at any time
        if held is not None:
            # In a thread, since Redis may hang.
            threading.Thread(target=_try_to_release, args=(held,), daemon=True).start()
        while self._held is not None:
            if self._clock() > deadline:
                _log.warning("drain timed out after %g s: exit without waiting for the chunk in work", self._limit_s)
                self._end(0)
            self._sleep(_POLL_S)
        # Stay longer if there is time. A slow main process would mistake an early exit for a crash, and start another
        # child.
        self._sleep(max(_CHILD_LINGERS_S, min(3 * _CHILD_LINGERS_S, deadline - self._clock())))
        self._end(0)


def _try_to_release(held: Releasable) -> None:
    try:
        held.release()
    except RedisUnavailableError as error:
        _log.warning("chunk not released, other workers take it when its lease expires: %s", error)


def _send(children: Iterable[int], number: signal.Signals) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, number)
