"""In every worker's main process, two threads: one publishes missing tickets, the other writes missing summaries.

A storage that hangs stops the second thread only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from fiqa.errors import FiqaError, RedisUnavailableError
from fiqa.jobs.summary import write_summaries, write_summary
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage

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
        self._ledger.missing_tickets(count_again=True)
        published = self._publish_tickets()
        if published:
            _log.info("topped up %d tickets", published)
        self._ledger.forget_expired()


class Summaries(threading.Thread):
    """Writes the summaries that the workers which finished the jobs did not. Each is taken by one process.

    A job whose storage fails is tried again later and later, and given up after about a day. Its status says why.
    """

    def __init__(
        self, ledger: Ledger, open_storage: Callable[[str], Storage], *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        super().__init__(name="summaries", daemon=True)
        self._ledger = ledger
        self._open_storage = open_storage
        self._sleep = sleep

    def run(self) -> None:
        while True:
            self._sleep(_EVERY_S)
            try:
                write_summaries(self._ledger, self._open_storage)
            except RedisUnavailableError:
                pass  # the reconciler logs it
            except FiqaError as error:
                _log.warning("summary not written, next try later: %s", error)


class SummaryWriter:
    """Writes the summary of a job that this process has finished, in a thread: no other chunk waits for the storage."""

    def __init__(self, ledger: Ledger, open_storage: Callable[[str], Storage]) -> None:
        self._ledger = ledger
        self._open_storage = open_storage
        self._busy = threading.Lock()

    def write(self, job_id: str) -> None:
        """Begin to write it. If the last one is not done yet, a reconciler writes this one."""
        if self._busy.acquire(blocking=False):
            threading.Thread(target=self._write, args=(job_id,), name="summary", daemon=True).start()

    def _write(self, job_id: str) -> None:
        try:
            write_summary(job_id, ledger=self._ledger, open_storage=self._open_storage)
        except FiqaError as error:  # every worker's Summaries try again
            _log.warning("summary of job %s not written, next try later: %s", job_id, error)
        finally:
            self._busy.release()
