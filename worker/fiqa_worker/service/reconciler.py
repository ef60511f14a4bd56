"""In every worker's main process: a sign of life and, one process at a time, missing tickets and summaries."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Final

from celery import Celery

from fiqa.broker import publish_tickets
from fiqa.errors import FiqaError, RedisUnavailableError
from fiqa.jobs.summary import write_summaries
from fiqa.ledger.ledger import Ledger

_log = logging.getLogger(__name__)

_EVERY_S: Final = 5.0


class Reconciler(threading.Thread):
    """Runs until the process ends."""

    def __init__(self, app: Celery, ledger: Ledger) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._app = app
        self._ledger = ledger
        self._ended = threading.Event()

    def run(self) -> None:
        # In a thread of its own: a storage that hangs may hold up the rest.
        threading.Thread(target=self._beat, name="sign of life", daemon=True).start()
        failing = False
        while not self._ended.wait(_EVERY_S):
            try:
                # A little shorter than the pause: who had the lock last time may have it again.
                if self._ledger.try_reconciler_lock(seconds=0.9 * _EVERY_S):
                    published = publish_tickets(self._app, self._ledger)
                    if published:
                        _log.info("topped up %d tickets", published)
                    write_summaries(self._ledger)
                failing = False
            except FiqaError as error:
                if not failing:
                    _log.warning("reconciler: %s", error)
                failing = True

    def _beat(self) -> None:
        while not self._ended.is_set():
            with suppress(RedisUnavailableError):  # the other thread says so
                self._ledger.heartbeat(seconds=3 * _EVERY_S)
            self._ended.wait(_EVERY_S)

    def stop(self) -> None:
        self._ended.set()
