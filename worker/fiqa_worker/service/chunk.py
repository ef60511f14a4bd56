"""One chunk, from the claim to its completion: lease, read, run, store, count.

Nothing here depends on Celery: tasks.py calls `process_next` once for every ticket. A chunk ends in one of four ways:

- It is counted.
- It is abandoned, if the lease is lost.
- It is released with a delay, if the storage or Redis fails.
- It is released at once for other machines, if this machine may be unable to read its images.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, TypeVar

from fiqa.contract import ErrorCode, ImageResult, Item, JobOptions
from fiqa.errors import FiqaError, RedisUnavailableError
from fiqa.ledger.claims import Claim, Claimant, Completion, Counts
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import read_items, store_results
from fiqa.storage.storage import Storage
from fiqa.text import count
from fiqa_worker.errors import SourceUnavailable
from fiqa_worker.pipeline.expendable import ExpendableThreads, StuckError
from fiqa_worker.pipeline.watch import Watch
from fiqa_worker.service.counters import Counters
from fiqa_worker.service.doubts import InDoubt, settle_or_release
from fiqa_worker.service.drain import ChildDrain
from fiqa_worker.service.fleet import Fleet
from fiqa_worker.service.lasting import GivenUp, given_up, lost_items
from fiqa_worker.service.lease import Lease, LeaseLost
from fiqa_worker.service.logs import about
from fiqa_worker.service.standing import Standing

T = TypeVar("T")

_log = logging.getLogger(__name__)

# If a storage does not answer for so long, it may never answer: an NFS server is gone, or a server sends one byte per
# second. A normal answer takes seconds at most: the largest shard has a few megabytes.
STORAGE_LIMIT_S: Final = 60.0
# The delay before the next attempt of a chunk that failed as a whole, for instance because of its storage.
RETRY_DELAY_S: Final = 10.0
_COMPLETE_TRIES: Final = 5
# If a process backs off from all due jobs, it looks for other jobs after these pauses: the first one, and the longest.
_FIRST_LOOK_S: Final = 1.0
_LOOK_S: Final = 2.0


class Scorer(Protocol):
    """Scores images. In a worker this is Pipeline."""

    def run(
        self,
        items: Sequence[Item],
        *,
        quarantined: Mapping[int, ErrorCode],
        watch: Watch,
        isolated: bool = False,
        options: JobOptions,
    ) -> Iterator[ImageResult]:
        """Yield one result for each item, in the order of the items. Pipeline.run describes the arguments."""


@dataclass(frozen=True, slots=True)
class ChunkProcessor:
    """What a process needs to work on chunks, one at a time.

    Attributes:
        ledger: hands out the chunks and counts them.
        open_storage: returns the storage of a URL.
        load_pipeline: returns the scorer of images. It is called for each chunk, so that its error is reported for that
            chunk.
        standing: decides which failures of this process are results.
        fleet: knows the other workers.
        drain: the drain of this process.
        fingerprint: returns the fingerprint of this process, or an empty string if its models do not load.
        publish_tickets: publishes the tickets that the queue lacks. Raises RedisUnavailableError.
        on_finished: called with the id of a job when this process has counted the job's last chunk.
        image_time_limit_s: an item whose compute takes longer ends this process.
        counters: count the work of this process.
        storage_limit_s: a call of a storage that takes longer is abandoned.
        sleep: a function like time.sleep.
    """

    ledger: Ledger
    open_storage: Callable[[str], Storage]
    load_pipeline: Callable[[], Scorer]
    standing: Standing
    fleet: Fleet
    drain: ChildDrain
    fingerprint: Callable[[], str]
    publish_tickets: Callable[[], object]
    on_finished: Callable[[str], object]
    image_time_limit_s: float
    counters: Counters = field(default_factory=Counters)
    storage_limit_s: float = STORAGE_LIMIT_S
    sleep: Callable[[float], object] = time.sleep
    _isolated: list[Claim] = field(default_factory=list)
    _storage_thread: ExpendableThreads = field(default_factory=lambda: ExpendableThreads(1, name="storage"))

    def process_next(self) -> None:
        """Claim one chunk of a due job and process it, if there is one. Once the drain has begun, claim nothing.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses. If a chunk is claimed, it is requeued when its
                lease expires. A reconciler replaces the ticket.
        """
        self._report_survived()
        look_s = _FIRST_LOOK_S
        while not self.drain.begun.is_set():
            avoided, first_s = self.standing.avoided()
            fingerprint = self.fingerprint()
            offer = self.ledger.claim_for(
                Claimant(
                    machine=self.fleet.claims_as, fingerprint=fingerprint, worker=self.fleet.worker_id, avoided=avoided
                )
            )
            for job_id in offer.unfit:
                self.fleet.does_not_fit(job_id, fingerprint)
            if offer.claim is not None:
                with (
                    about(offer.claim.job_id, offer.claim.chunk),
                    self.counters.in_flight(attempt=offer.claim.attempt),
                ):
                    self.process(offer.claim)
                self.publish_tickets()
                return
            if not offer.passed_over:
                return
            # Keep this ticket: a process that takes one ticket after the other, but no chunk, would leave none for
            # others.
            if look_s == _FIRST_LOOK_S:
                self.publish_tickets()
            self.drain.begun.wait(look_s if first_s is None else min(look_s, first_s))
            look_s = min(1.5 * look_s, _LOOK_S)

    def process(self, claim: Claim) -> None:
        """Process a claimed chunk.

        Raises:
            RedisUnavailableError: the chunk failed and could not be released. It is requeued when its lease expires.
        """
        if claim.attempt > 1:
            _log.warning(
                "attempt %d: an earlier attempt was lost (its worker died or its lease expired)", claim.attempt
            )
        if claim.isolated:
            self._isolated.append(claim)
        try:
            self._score_or_give_up(claim)
        except LeaseLost:
            _log.info("chunk abandoned: lease lost (this worker ends, the job was stopped, or the lease expired)")
        except InDoubt:
            pass  # it was logged, and the chunk was released
        except SourceUnavailable as error:
            backoff_s = self.standing.cannot_read(claim.job_id, error.root, error.lost_s)
            _log.warning(
                "chunk released for other workers, this worker tries the job again in %g s: %s", backoff_s, error
            )
            self.ledger.release(claim, last_error=f"{self.fleet.machine}: {error}")
            self.fleet.report(error.root, error.root, error.reason)
        except Exception as error:  # noqa: BLE001  logged, and shown as the job's last error
            # The message of a FiqaError is one line that says what to do. It needs no traceback.
            _log.error(
                "chunk failed, next attempt in %g s: %s",
                RETRY_DELAY_S,
                error,
                exc_info=not isinstance(error, FiqaError),
            )
            self.ledger.release(claim, delay_s=RETRY_DELAY_S, last_error=f"chunk {claim.chunk}: {error}")
        self._report_survived()

    def _report_survived(self) -> None:
        """Report that this process is alive after its last isolated chunks.

        It may have lost a lease, but no image has killed it.

        Raises:
            RedisUnavailableError: call it again later.
        """
        while self._isolated:
            self.ledger.survived(self._isolated[0])
            del self._isolated[0]

    def _score_or_give_up(self, claim: Claim) -> None:
        """Score and count the chunk. If it has failed too often for a lasting reason, its images end as failed."""
        try:
            self._score_and_count(claim)
        except (LeaseLost, InDoubt, SourceUnavailable):
            raise
        except Exception as error:
            found = self._call_storage(claim, partial(self._given_up, claim, error))
            if found is None:
                raise
            _log.error("chunk given up, its images end as %s: %s", found.code, found.why)
            self._score_and_count(claim, found)

    def _given_up(self, claim: Claim, error: Exception) -> GivenUp | None:
        return given_up(claim, error, ledger=self.ledger, storage=self.open_storage(claim.storage))

    def _score_and_count(self, claim: Claim, given_up: GivenUp | None = None) -> None:
        started = time.monotonic()
        lease = Lease(
            self.ledger,
            claim,
            image_time_limit_s=self.image_time_limit_s,
            publish_tickets=self.publish_tickets,
            counters=self.counters,
        )
        with lease, self.drain.holding(lease):
            storage = self._call_storage(claim, partial(self.open_storage, claim.storage), lease)
            results = self._store(claim, storage, self._score(claim, storage, lease, given_up), lease)
            counts = Counts.of(results)
            completion = self._complete(claim, counts)
        if completion in {Completion.COUNTED, Completion.JOB_IS_FINISHED}:
            self.counters.add_images(counts)
        if completion is Completion.JOB_IS_GONE:
            self._call_storage(claim, partial(_delete_unless_lost, storage, claim.job_id))
        _log.info(
            "%s, %d scored, %d no face, %d failed, %.1f s",
            count(len(results), "image"),
            counts.scored,
            counts.no_face,
            sum(counts.failed.values()),
            time.monotonic() - started,
        )
        if completion is Completion.JOB_IS_FINISHED:
            _log.info("the job is finished")
            self.on_finished(claim.job_id)

    def _score(self, claim: Claim, storage: Storage, lease: Lease, given_up: GivenUp | None) -> list[ImageResult]:
        quarantined = claim.quarantined
        if given_up and given_up.code is ErrorCode.MANIFEST_LOST:
            items = lost_items(claim)
        else:
            read = partial(read_items, storage, claim.job_id, claim.chunk, claim.size)
            items = self._call_storage(claim, read, lease)
        if given_up:
            quarantined = dict.fromkeys(range(len(items)), given_up.code)
        results = []
        standing = self.standing.start_chunk()
        decide = partial(
            settle_or_release, claim, items, chunk=standing, process=self.standing, fleet=self.fleet, ledger=self.ledger
        )
        for result in self.load_pipeline().run(
            items,
            quarantined=quarantined,
            watch=lease,
            isolated=claim.isolated,
            options=JobOptions.read(claim.options),
        ):
            results.append(result)
            lease.check()
            if len(results) - 1 in quarantined:  # decided by earlier attempts
                continue
            if doubt := standing.add(result):
                decide(doubt)
        for doubt in list(standing.doubts.values()):
            decide(doubt)
        self.fleet.has_read(standing.proven)
        return results

    def _store(self, claim: Claim, storage: Storage, results: list[ImageResult], lease: Lease) -> list[ImageResult]:
        """Store the results, unless the chunk has a shard already. Return the results that are in the storage."""
        lease.confirm()
        return self._call_storage(claim, partial(store_results, storage, claim.job_id, claim.chunk, results))

    def _call_storage(self, claim: Claim, call: Callable[[], T], lease: Lease | None = None) -> T:
        """Call the job's storage in a thread, and return the result. If a lease is given and is lost, stop waiting.

        Raises:
            SourceUnavailable: the storage does not answer.
            LeaseLost: this process no longer holds the chunk.
        """
        made = self._storage_thread.start(call)
        try:
            return self._storage_thread.wait(
                made, limit_s=self.storage_limit_s, check=lease.check if lease else lambda: None
            )
        except StuckError:
            reason = f"the storage has not answered for {self.storage_limit_s:g} s"
            raise SourceUnavailable(claim.storage, reason, lost_s=self.storage_limit_s) from None

    def _complete(self, claim: Claim, counts: Counts) -> Completion:
        """Count the chunk.

        If Redis is unavailable, retry for a short time. After a longer outage, another attempt counts the stored shard.
        """
        for attempt in range(1, _COMPLETE_TRIES + 1):
            try:
                return self.ledger.complete(claim.job_id, claim.chunk, counts)
            except RedisUnavailableError as error:
                if attempt == _COMPLETE_TRIES:
                    raise
                _log.warning("chunk not counted yet, retrying: %s", error)
                self.sleep(attempt)
        raise AssertionError


def _delete_unless_lost(storage: Storage, job_id: str) -> None:
    """Delete what is left of a job that was deleted before a shard was stored.

    If job.json still exists, the job was not deleted: Redis lost the job, and it can be recovered from the storage.
    """
    if storage.read_document(job_id, "job") is None:
        storage.delete(job_id)
