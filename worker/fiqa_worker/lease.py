"""Holding a chunk while it is worked on: a thread renews the lease, and ends a process that hangs in one image."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Final, Self

from fiqa_producer.errors import RedisUnavailableError
from fiqa_producer.ledger import LEASES_RENEWED_EVERY_S, Claim, Ledger

_log = logging.getLogger(__name__)

HUNG_EXIT_STATUS: Final = 75


class LeaseLost(Exception):  # noqa: N818  it is news, not an error
    """The chunk is no longer ours: the job was stopped, or the lease ran out and another worker has it."""


class Lease:
    """A claimed chunk, kept while the block runs. Not given back at the end: that is complete's or release's."""

    def __init__(self, ledger: Ledger, claim: Claim, *, image_time_limit_s: float) -> None:
        self._ledger = ledger
        self._claim = claim
        self._limit_s = image_time_limit_s
        self._ended = threading.Event()
        self._lost = False
        self._touched: tuple[int, float] | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raises LeaseLost as soon as that is known."""
        if self._lost:
            raise LeaseLost

    def confirm(self) -> None:
        """Ask Redis whether the chunk is still ours; raises LeaseLost or RedisUnavailableError."""
        self._lost = self._lost or not self._ledger.renew(self._claim)
        self.check()

    def touch(self, index: int) -> None:
        """Begin the clock of one item; where earlier workers died of this chunk, note the item in the ledger first."""
        if self._claim.careful:
            self._lost = self._lost or not self._ledger.renew(self._claim, note=index)
            self.check()
        self._touched = index, time.monotonic()

    def rest(self) -> None:
        """Stop the clock."""
        self._touched = None

    def _keep(self) -> None:
        while not self._ended.wait(LEASES_RENEWED_EVERY_S):
            try:
                self._end_if_hung()
                self._lost = self._lost or not self._ledger.renew(self._claim)
            except RedisUnavailableError as error:
                # The lease may outlive the trouble; if not, the next renewal says so.
                _log.warning("job %s chunk %d: lease not renewed: %s", self._claim.job_id, self._claim.chunk, error)
            if self._lost:
                return

    def _end_if_hung(self) -> None:
        touched = self._touched
        if touched is None or time.monotonic() - touched[1] < self._limit_s:
            return
        index, _ = touched
        _log.error(
            "job %s chunk %d: item %d took over %g s; it will be skipped as time_limit, and this process ends",
            self._claim.job_id,
            self._claim.chunk,
            index,
            self._limit_s,
        )
        self._ledger.release(self._claim, hung=index)
        # A thread stuck in a decoder cannot be stopped; the pool replaces the process.
        os._exit(HUNG_EXIT_STATUS)
