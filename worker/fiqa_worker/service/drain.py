"""Ends a worker within a set time: the main process passes the signal on, every child releases its chunk at once."""

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

# What people, supervisors and terminals send to end a process or a process group. All of them mean the same here.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

# How long a child stays after its task: the main process notes that the task has ended, and closes the pool.
_CHILD_LINGERS_S: Final = 2.0
# How long the main process may take after the last child has ended: its tickets go back to the queue.
_MAIN_LINGERS_S: Final = 5.0
_POLL_S: Final = 0.05


class Releasable(Protocol):
    """What a child holds and must not take with it."""

    def release(self) -> None:
        """Let other workers have it. Called in another thread, at most once.

        Raises:
            RedisUnavailableError: they have it when its lease runs out.
        """


def _children() -> list[int]:
    return [child.pid for child in active_children()]


class MainDrain:
    """The drain of the main process. The first signal begins it, others change nothing."""

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
            sleep: as time.sleep.
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
        # Celery's event loop and its reconnecting read this every second, and then stop in order.
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
    """The drain of a child. A thread waits for the signal, since the main one may be deep in a decoder or a fetch.

    Attributes:
        begun: set as soon as this process must take no more chunks.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Block the signals. Create it in the main thread before any other starts: threads inherit the signal mask.

        Args:
            limit_s: how long the chunk in work may take to end after the signal.
            clock: as time.monotonic.
            sleep: as time.sleep.
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
        """Release this, at once and in another thread, if the drain begins during the block."""
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
        if self._held is not None:
            # In a thread, since Redis may hang.
            threading.Thread(target=_try_to_release, args=(self._held,), daemon=True).start()
        while self._held is not None:
            if self._clock() > deadline:
                _log.warning("drain timed out after %g s: exit without waiting for the chunk in work", self._limit_s)
                self._end(0)
            self._sleep(_POLL_S)
        # Linger for longer if there is time: a main process that was held up takes the exit for a crash, and starts
        # another child.
        self._sleep(max(_CHILD_LINGERS_S, min(3 * _CHILD_LINGERS_S, deadline - self._clock())))
        self._end(0)


def _try_to_release(held: Releasable) -> None:
    try:
        held.release()
    except RedisUnavailableError as error:
        _log.warning("chunk not released, other workers take it when its lease runs out: %s", error)


def _send(children: Iterable[int], number: signal.Signals) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, number)
