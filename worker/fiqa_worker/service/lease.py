"""Holds a chunk while it is in work. A thread renews the lease, and ends this process if it hangs in one image."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Self

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.claims import Claim
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import LEASES_RENEWED_EVERY_S
from fiqa_worker.pipeline.watch import Stage, Watch
from fiqa_worker.service.counters import Counters

_log = logging.getLogger(__name__)

HUNG_EXIT_STATUS: Final = 75


class LeaseLost(Exception):  # noqa: N818  an outcome, not an error
    """This process no longer holds the chunk: it was released, the job was stopped, or the lease expired."""


class Lease(Watch):
    """Keeps a claimed chunk while the block runs. The end of the block does not release it."""

    def __init__(
        self,
        ledger: Ledger,
        claim: Claim,
        *,
        image_time_limit_s: float,
        publish_tickets: Callable[[], object],
        counters: Counters,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """Create it. Nothing happens before the block starts.

        Args:
            ledger: the ledger that handed out the claim.
            claim: the chunk.
            image_time_limit_s: an item whose compute takes longer ends this process.
            publish_tickets: publishes the tickets that the queue lacks. Raises RedisUnavailableError.
            counters: count the work on each item.
            wait: a function like threading.Event.wait.
            end: ends this process at once, with an exit status.
        """
        self._ledger = ledger
        self._claim = claim
        self._limit_s = image_time_limit_s
        self._publish_tickets = publish_tickets
        self._counters = counters
        self._wait = wait
        self._end = end
        self._ended = threading.Event()
        self._lost = False
        self._storing = False
        # The items in work, and the rounds of the thread since their compute started. Decoding threads change this dict
        # too.
        self._rounds: dict[int | None, int] = {}
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def on_item_start(self, index: int) -> None:
        """Record in the ledger that this item is in flight.

        Raises:
            LeaseLost: this process no longer holds the chunk.
            RedisUnavailableError: the item cannot be recorded.
        """
        self._renew(in_flight=index)
        self.check()

    @contextmanager
    def computing(self, index: int | None) -> Iterator[None]:
        """Count the time of an item, or of several that are in the models together."""
        self._rounds[index] = 0
        try:
            yield
        finally:
            del self._rounds[index]

    def on_item_end(self, seconds: Mapping[Stage, float], bytes_fetched: int) -> None:
        self._counters.add_work(seconds, bytes_fetched)

    def check(self) -> None:
        """Raise LeaseLost if it is known that the lease is lost."""
        if self._lost:
            raise LeaseLost

    def confirm(self) -> None:
        """Ask Redis whether this process still holds the chunk. Call this before the results are stored.

        From here on, `release` does not release the chunk.

        Raises:
            LeaseLost: this process no longer holds the chunk.
            RedisUnavailableError: Redis does not answer.
        """
        self._storing = True
        self._renew()
        self.check()

    def release(self) -> None:
        """Release the chunk for other workers at once, unless its results are being stored. Call it in another thread.

        Raises:
            RedisUnavailableError: it cannot be released now. Another worker takes it when the lease expires.
        """
        if not self._storing:
            self._lost = True
            self._ledger.release(self._claim)
        # Publish now, not when this process has ended: another worker may be idle. The ticket of this process is
        # acknowledged only when the process ends, and that may take long.
        self._publish_tickets()

    def _keep(self) -> None:
        failing = False
        while not self._wait(self._ended, LEASES_RENEWED_EVERY_S):
            try:
                self._end_if_hung()
                self._renew()
                failing = False
            except RedisUnavailableError as error:
                # The error may pass before the lease expires. If it does not, the next renewal shows that the lease is
                # lost.
                if not failing:
                    _log.warning("lease not renewed: %s", error)
                failing = True

    def _renew(self, in_flight: int | None = None) -> None:
        # A lease that another thread lost or released stays lost.
        if not self._lost and not self._ledger.renew(self._claim, in_flight=in_flight):
            self._lost = True

    def _end_if_hung(self) -> None:
        # The time is counted in rounds of this thread, not by a clock: the time in which the process is suspended does
        # not count.
        for index, rounds in list(self._rounds.items()):
            if rounds * LEASES_RENEWED_EVERY_S >= self._limit_s:
                self._end_hung(index)
            elif index in self._rounds:
                self._rounds[index] = rounds + 1

    def _end_hung(self, index: int | None) -> None:
        # A thread that is stuck in a decoder cannot be stopped. The pool replaces the process.
        if index is None:
            # This attempt counts. From the third attempt on, the chunk is isolated, and shows which image hangs.
            _log.error("the models took over %g s for a batch: this process exits", self._limit_s)
        else:
            _log.error(
                "item %d took over %g s: it will end as time_limit, and this process exits", index, self._limit_s
            )
            self._ledger.release(self._claim, hung=index)
        self._end(HUNG_EXIT_STATUS)
