"""Holding a chunk while it is worked on: a thread renews the lease, and ends a process that hangs in one image."""

from __future__ import annotations

import logging
import os
import threading
from typing import Final, Self

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.claims import Claim
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import LEASES_RENEWED_EVERY_S

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
        self._storing = False
        self._started: int | None = None
        self._watched: int | None = None
        self._beats = 0
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """After each result: stop the item's clock. Raises LeaseLost as soon as that is known."""
        self._started = None
        if self._lost:
            raise LeaseLost

    def confirm(self) -> None:
        """Before the results are stored: is the chunk still ours? Raises LeaseLost or RedisUnavailableError."""
        self._storing = True
        self._renew()
        self.check()

    def on_item_start(self, index: int) -> None:
        """Start one item's clock. An isolated chunk first records the item in the ledger."""
        if self._claim.isolated:
            self._renew(in_flight=index)
            self.check()
        self._started = index

    def release(self) -> None:
        """From another thread: let others have the chunk at once, unless its results are being stored.

        Raises:
            RedisUnavailableError: they have it when the lease runs out.
        """
        if not self._storing:
            self._lost = True
            self._ledger.release(self._claim)

    def _keep(self) -> None:
        failing = False
        while not self._ended.wait(LEASES_RENEWED_EVERY_S):
            try:
                self._end_if_hung()
                self._renew()
                failing = False
            except RedisUnavailableError as error:
                # The lease may outlive the trouble; if not, the next renewal says so.
                if not failing:
                    _log.warning("lease not renewed: %s", error)
                failing = True

    def _renew(self, in_flight: int | None = None) -> None:
        # What another thread found lost, or gave back, stays lost.
        if not self._lost and not self._ledger.renew(self._claim, in_flight=in_flight):
            self._lost = True

    def _end_if_hung(self) -> None:
        # Counted in beats of this thread and not by a clock: while the process is stopped, no image is at work.
        touched = self._started
        if touched is None or touched != self._watched:
            self._watched, self._beats = touched, 0
            return
        self._beats += 1
        if self._beats * LEASES_RENEWED_EVERY_S < self._limit_s:
            return
        _log.error(
            "item %d took over %g s; it will be skipped as time_limit, and this process ends", touched, self._limit_s
        )
        self._ledger.release(self._claim, hung=touched)
        # A thread stuck in a decoder cannot be stopped; the pool replaces the process.
        os._exit(HUNG_EXIT_STATUS)
