"""In every worker's main process, one process at a time: publishes missing tickets and writes missing summaries."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from fiqa.errors import FiqaError
from fiqa.jobs.summary import write_summaries
from fiqa.ledger.ledger import Ledger

_log = logging.getLogger(__name__)

_EVERY_S: Final = 5.0


class Reconciler(threading.Thread):
    """Runs until the process ends. An error that lasts is logged once."""

    def __init__(
        self, ledger: Ledger, publish_tickets: Callable[[], int], *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Nothing happens before `start`.

        Args:
            ledger: knows what is missing.
            publish_tickets: publishes the tickets that the queue lacks, and returns how many.
            sleep: as time.sleep.
        """
        super().__init__(name="reconciler", daemon=True)
        self._ledger = ledger
        self._publish_tickets = publish_tickets
        self._sleep = sleep

    def run(self) -> None:
        failing = False
        while True:
            self._sleep(_EVERY_S)
            try:
                self._reconcile()
                failing = False
            except FiqaError as error:
                if not failing:
                    _log.warning("reconciler failed, retrying: %s", error)
                failing = True

    def _reconcile(self) -> None:
        # A little shorter than the pause, so that the process that had the lock last can have it again.
        if not self._ledger.try_reconciler_lock(seconds=0.9 * _EVERY_S):
            return
        published = self._publish_tickets()
        if published:
            _log.info("topped up %d tickets", published)
        write_summaries(self._ledger)
