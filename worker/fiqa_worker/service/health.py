"""Two files that show whether a worker is alive and ready, for probes that must cost nothing.

`alive` is touched every few seconds while the worker consumes tickets. It is also touched while Redis is unavailable: a
restart of the worker would not help. `ready` exists, and is touched, while the worker can take a chunk: its models are
loaded, Redis answers and the consumer is connected. A probe checks that the file was touched in the last minute.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from celery.worker import state
from celery.worker.worker import WorkController

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.ledger import Ledger

_log = logging.getLogger(__name__)

TICKS_EVERY_S: Final = 1.0
LOOKS_EVERY_S: Final = 2.0
CONNECTED_S: Final = 10.0
# Celery waits for up to 32 s between two attempts to connect, and then for as long as one attempt takes.
STUCK_S: Final = 60.0


class Health(threading.Thread):
    """Touches or removes the two files. It runs in the main process, until the process ends."""

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        worker: WorkController,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        """Make `alive`, and remove what an earlier worker left behind.

        Args:
            folder: the folder of the files. It is created if it is missing.
            ledger: shows whether Redis answers, and whether tickets wait.
            worker: Celery's worker, whose pool is watched.
            clock: a function like time.monotonic.
            wait: a function like threading.Event.wait.

        Raises:
            OSError: the folder cannot be written.
        """
        super().__init__(name="health", daemon=True)
        self._folder = folder
        self._ledger = ledger
        self._worker = worker
        self._clock = clock
        self._wait = wait
        # When the event loop last ran, when Redis was last unavailable, and when a ticket was last taken or none
        # waited.
        self._loop_ran_at = self._redis_failed_at = self._progressed_at = clock()
        self._tickets_taken = 0
        self._models_loaded = False
        self._draining = False
        self._ended = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self._remove("ready", *(path.name for path in folder.glob("loaded-*")))
        (folder / "alive").touch()

    def tick(self) -> None:
        """Call this in the consumer's event loop.

        The loop runs only while the consumer is connected, and stops if Celery hangs.
        """
        self._loop_ran_at = self._clock()
        if self._draining:
            return
        wanted = {_mark(child) for child in self._worker.pool.info["processes"]}
        try:
            marks = {path.name for path in self._folder.glob("loaded-*")}
            self._remove(*(marks - wanted))
        except OSError:
            marks = set()  # the thread logs it
        self._models_loaded = bool(marks & wanted)

    def drain(self) -> None:
        """Remove `ready` for good. Call this when the worker takes no more chunks."""
        self._draining = True
        self._remove("ready")

    def run(self) -> None:
        while not self._wait(self._ended, LOOKS_EVERY_S):
            try:
                self._look()
            except OSError as error:
                _log.warning("FIQA_HEALTH_DIR: cannot write %s: %s", error.filename, error.strerror)

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()

    def _look(self) -> None:
        try:
            tickets = self._ledger.waiting_tickets()
        except RedisUnavailableError:
            # The reconciler logs it. When Redis is back, the event loop and the consumer have the full STUCK_S again.
            self._redis_failed_at = self._progressed_at = self._clock()
            (self._folder / "alive").touch()
            self._remove("ready")
            return
        now = self._clock()
        # A worker that holds tickets has work to do: a chunk may well take longer than a minute.
        if (
            not tickets
            or state.reserved_requests
            or state.all_total_count[0] != self._tickets_taken
            or not self._models_loaded
        ):
            self._progressed_at, self._tickets_taken = now, state.all_total_count[0]
        if now - max(self._loop_ran_at, self._redis_failed_at) < STUCK_S and now - self._progressed_at < STUCK_S:
            (self._folder / "alive").touch()
        if now - self._loop_ran_at < CONNECTED_S and self._models_loaded and not self._draining:
            (self._folder / "ready").touch()
        else:
            self._remove("ready")
        if self._draining:  # the drain may have begun just before the touch
            self._remove("ready")

    def _remove(self, *names: str) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)


def mark_loaded(folder: Path) -> None:
    """Record that a child has loaded its models. Call this in the child."""
    (folder / _mark(os.getpid())).touch()


def _mark(child: int) -> str:
    return f"loaded-{child}"
