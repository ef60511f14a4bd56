"""Holds a chunk while it is in work: a thread renews the lease, and ends a process that hangs in one image."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Final, Self

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.claims import Claim
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import LEASES_RENEWED_EVERY_S

_log = logging.getLogger(__name__)

HUNG_EXIT_STATUS: Final = 75


class LeaseLost(Exception):  # noqa: N818  an outcome, not an error
    """The chunk is no longer ours: it was released, the job was stopped, or the lease ran out."""


class Lease:
    """Keeps a claimed chunk while the block runs. The end of the block does not release it."""

    def __init__(
        self,
        ledger: Ledger,
        claim: Claim,
        *,
        image_time_limit_s: float,
        publish_tickets: Callable[[], object],
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Nothing happens before the block.

        Args:
            ledger: has handed out the claim.
            claim: the chunk.
            image_time_limit_s: an item that takes longer ends this process.
            publish_tickets: publishes the tickets that the queue lacks. Raises RedisUnavailableError.
            wait: as threading.Event.wait.
            end: ends this process at once, with an exit status.
        """
        self._ledger = ledger
        self._claim = claim
        self._limit_s = image_time_limit_s
        self._publish_tickets = publish_tickets
        self._wait = wait
        self._end = end
        self._ended = threading.Event()
        self._lost = False
        self._storing = False
        self._in_work: int | None = None
        self._in_work_before: int | None = None
        self._beats = 0
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def on_item_start(self, index: int) -> None:
        """Start the time of one item. In an isolated chunk, first record in the ledger that it is in flight.

        Raises:
            LeaseLost: the chunk is no longer ours.
            RedisUnavailableError: the item cannot be recorded.
        """
        if self._claim.isolated:
            self._renew(in_flight=index)
            self.check()
        self._in_work = index

    def check(self) -> None:
        """Call after each result: stops the time of its item. Raises LeaseLost as soon as the loss is known."""
        self._in_work = None
        if self._lost:
            raise LeaseLost

    def confirm(self) -> None:
        """Call before the results are stored: asks Redis whether the chunk is still ours.

        From here on `release` does nothing.

        Raises:
            LeaseLost: it is not.
            RedisUnavailableError: Redis does not answer.
        """
        self._storing = True
        self._renew()
        self.check()

    def release(self) -> None:
        """Let another worker have the chunk at once, unless its results are being stored. For another thread.

        Raises:
            RedisUnavailableError: another worker has it when the lease runs out.
        """
        if not self._storing:
            self._lost = True
            self._ledger.release(self._claim)
        # Now, not only when this process has ended: another worker may be idle. The ticket of this process stays
        # unacknowledged for as long as a fetch hangs.
        self._publish_tickets()

    def _keep(self) -> None:
        failing = False
        while not self._wait(self._ended, LEASES_RENEWED_EVERY_S):
            try:
                self._end_if_hung()
                self._renew()
                failing = False
            except RedisUnavailableError as error:
                # The lease may outlive the error. If it does not, the next renewal finds that out.
                if not failing:
                    _log.warning("lease not renewed: %s", error)
                failing = True

    def _renew(self, in_flight: int | None = None) -> None:
        # A lease that another thread lost or released stays lost.
        if not self._lost and not self._ledger.renew(self._claim, in_flight=in_flight):
            self._lost = True

    def _end_if_hung(self) -> None:
        # Counted in beats of this thread, not by a clock: while the process is stopped, no image is in work.
        index = self._in_work
        if index is None or index != self._in_work_before:
            self._in_work_before, self._beats = index, 0
            return
        self._beats += 1
        if self._beats * LEASES_RENEWED_EVERY_S < self._limit_s:
            return
        _log.error("item %d took over %g s: it will end as time_limit, and this process exits", index, self._limit_s)
        self._ledger.release(self._claim, hung=index)
        # A thread that is stuck in a decoder cannot be stopped. The pool replaces the process.
        self._end(HUNG_EXIT_STATUS)
