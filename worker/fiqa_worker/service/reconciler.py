"""Two threads in every worker's main process: one publishes missing tickets, the other writes missing summaries."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from fiqa.errors import FiqaError, RedisUnavailableError, StorageError
from fiqa.jobs.summary import write_summaries, write_summary
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage
from fiqa.text import count
from fiqa_worker.pipeline.expendable import ExpendableThreads, StuckError

_log = logging.getLogger(__name__)

_EVERY_S: Final = 5.0
_SUMMARY_LIMIT_S: Final = 60.0


class Reconciler(threading.Thread):
    """Publishes missing tickets until the process ends. An error that lasts is logged once."""

    def __init__(
        self, ledger: Ledger, publish_tickets: Callable[[], int], *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Create it. Nothing happens before `start`.

        Args:
            ledger: counts the missing tickets.
            publish_tickets: publishes the tickets that the queue lacks, and returns their number.
            sleep: a function like time.sleep.
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
        # The lock expires a little before the next round, so that the same process can take it again.
        if not self._ledger.try_reconciler_lock(seconds=0.9 * _EVERY_S):
            return
        self._ledger.missing_tickets(count_again=True)
        published = self._publish_tickets()
        if published:
            _log.info("topped up %s", count(published, "ticket"))
        self._ledger.forget_expired()


class Summaries(threading.Thread):
    """Writes the summaries of finished jobs that are still missing. One process at a time tries each summary.

    Usually the worker that finishes a job writes its summary. If the storage fails or hangs, the summary is tried
    again, with growing pauses, and given up after about a day. The status of the job shows the reason.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_storage: Callable[[str], Storage],
        *,
        limit_s: float = _SUMMARY_LIMIT_S,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(name="summaries", daemon=True)
        self._ledger = ledger
        self._open_storage = open_storage
        self._limit_s = limit_s
        self._sleep = sleep
        self._writers = ExpendableThreads(1, name="summary")

    def run(self) -> None:
        while True:
            self._sleep(_EVERY_S)
            try:
                write_summaries(self._ledger, self._write)
            except RedisUnavailableError:
                pass  # the reconciler logs it
            except FiqaError as error:
                _log.warning("summary not written, next try later: %s", error)

    def _write(self, job_id: str) -> None:
        write = partial(write_summary, job_id, ledger=self._ledger, open_storage=self._open_storage)
        try:
            self._writers.wait(self._writers.start(write), limit_s=self._limit_s)
        except StuckError:
            problem = f"summary.json is not written: the storage has not answered for {self._limit_s:g} s"
            self._ledger.summary_failed(job_id, problem)
            raise StorageError(problem) from None


class SummaryWriter:
    """Writes the summary of a job that this process has finished.

    It uses a thread, so that the next chunk need not wait.
    """

    def __init__(self, ledger: Ledger, open_storage: Callable[[str], Storage]) -> None:
        self._ledger = ledger
        self._open_storage = open_storage
        self._busy = threading.Lock()

    def write(self, job_id: str) -> None:
        """Start to write the summary.

        If an earlier one is still being written, a Summaries thread writes this one later.
        """
        if self._busy.acquire(blocking=False):
            threading.Thread(target=self._write, args=(job_id,), name="summary", daemon=True).start()

    def _write(self, job_id: str) -> None:
        try:
            write_summary(job_id, ledger=self._ledger, open_storage=self._open_storage)
        except FiqaError as error:  # a Summaries thread tries again
            _log.warning("summary of job %s not written, next try later: %s", job_id, error)
        finally:
            self._busy.release()
