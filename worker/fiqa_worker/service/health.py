"""Two files that show whether a worker is alive and ready, for probes that must cost nothing.

`alive` is touched every few seconds while the worker consumes tickets. It is also touched while Redis is unavailable: a
restart of the worker would not help. `ready` exists, and is touched, while the worker can take a chunk: its models are
loaded, Redis answers and the consumer is connected. A probe asks for a file that was touched in the last minute.
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
    """Looks after the two files in the main process, until the process ends."""

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
            folder: where the files are; it is made if need be.
            ledger: shows whether Redis answers, and whether tickets wait.
            worker: Celery's, whose pool is watched.
            clock: as time.monotonic.
            wait: as threading.Event.wait.

        Raises:
            OSError: the folder cannot be written.
        """
        super().__init__(name="health", daemon=True)
        self._folder = folder
        self._ledger = ledger
        self._worker = worker
        self._clock = clock
        self._wait = wait
        # The last time that the event loop ran, that Redis was unavailable, and that a ticket was taken or none waited.
        self._ticked = self._excused = self._took = clock()
        self._taken = 0
        self._loaded = False
        self._draining = False
        self._ended = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self._remove("ready", *(path.name for path in folder.glob("loaded-*")))
        (folder / "alive").touch()

    def tick(self) -> None:
        """Call this in the consumer's event loop: it runs only while connected, and stops if Celery hangs."""
        self._ticked = self._clock()
        if self._draining:
            return
        wanted = {_mark(child) for child in self._worker.pool.info["processes"]}
        try:
            marks = {path.name for path in self._folder.glob("loaded-*")}
            self._remove(*(marks - wanted))
        except OSError:
            marks = set()  # the thread logs it
        self._loaded = bool(marks & wanted)

    def drain(self) -> None:
        """Call this when the worker takes no more chunks: removes `ready` for good."""
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
            # The reconciler logs it. What waits for Redis gets the whole time again once Redis is back.
            self._excused = self._took = self._clock()
            (self._folder / "alive").touch()
            self._remove("ready")
            return
        now = self._clock()
        # A worker that holds tickets has work to do: a chunk may well take longer than a minute.
        if not tickets or state.reserved_requests or state.all_total_count[0] != self._taken or not self._loaded:
            self._took, self._taken = now, state.all_total_count[0]
        if now - max(self._ticked, self._excused) < STUCK_S and now - self._took < STUCK_S:
            (self._folder / "alive").touch()
        if now - self._ticked < CONNECTED_S and self._loaded and not self._draining:
            (self._folder / "ready").touch()
        else:
            self._remove("ready")
        if self._draining:  # it may have begun just before the touch
            self._remove("ready")

    def _remove(self, *names: str) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)


def note_loaded(folder: Path) -> None:
    """Call this in a child when its models are loaded."""
    (folder / _mark(os.getpid())).touch()


def _mark(child: int) -> str:
    return f"loaded-{child}"
