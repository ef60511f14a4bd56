"""The Celery app of the worker, its process set-up, and the one task.

Imported in the worker's main process and, since pools are spawned, once in every child.
"""

from __future__ import annotations

import gc
import logging
import time
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from celery import bootsteps, shared_task, signals
from celery.worker.worker import WorkController
from kombu.asynchronous import Hub

from fiqa.broker import make_app, publish_tickets
from fiqa.contract import TASK_NAME, ImageResult, Item
from fiqa.errors import FiqaError, RedisUnavailableError, SettingsError
from fiqa.jobs.summary import write_summaries
from fiqa.ledger.claims import Claim, Completion, Counts
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import pack, read_shard
from fiqa.storage.storage import Storage, open_storage
from fiqa_worker.service.drain import ChildDrain, MainDrain
from fiqa_worker.service.health import TICKS_EVERY_S, Health, note_loaded
from fiqa_worker.service.lease import Lease, LeaseLost
from fiqa_worker.service.logs import about, configure
from fiqa_worker.service.reconciler import Reconciler
from fiqa_worker.service.tickets import TicketTransport
from fiqa_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from fiqa_worker.pipeline.pipeline import Pipeline

_log = logging.getLogger(__name__)

# How long a chunk rests after its storage, or anything else but an image, kept it from being done.
_REST_S: Final = 10.0
_COMPLETE_TRIES: Final = 5

settings = WorkerSettings.load()
app = make_app(settings.redis_url, read_transport=TicketTransport)
app.conf.include = [__name__]

# In KiB. Compared between two chunks with the most that a process ever held.
app.conf.worker_max_memory_per_child = settings.max_child_mb * 1024


@cache
def _ledger() -> Ledger:
    return Ledger(settings.redis_url)


@cache
def _storage(url: str) -> Storage:
    return open_storage(url, _ledger().connection)


@cache
def _pipeline() -> Pipeline:
    # Here, so that the main process holds neither OpenCV nor onnxruntime.
    from fiqa_worker.pipeline.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline.load(settings)


@cache
def _drain() -> ChildDrain:
    return ChildDrain(settings.drain_s)


@shared_task(name=TASK_NAME)
def score_chunk() -> None:
    """One ticket: one chunk of whatever is due."""
    if _drain().begun.is_set():
        return
    try:
        claim = _ledger().claim()
        if claim is None:
            return
        with about(claim.job_id, claim.chunk):
            _try(claim)
        publish_tickets(app, _ledger())
    except RedisUnavailableError as error:
        # A ticket that was lost is topped up by a reconciler, and a chunk's lease runs out.
        _log.warning("nothing is lost, but %s", error)


def _try(claim: Claim) -> None:
    try:
        _work(claim)
    except LeaseLost:
        _log.info("left to others: this worker ends, the job was stopped, or the lease ran out")
    except Exception as error:  # noqa: BLE001  logged, and shown as the job's reason
        # What is raised on purpose says in one line what to do.
        _log.error("put back for %g s: %s", _REST_S, error, exc_info=not isinstance(error, FiqaError))
        _ledger().release(claim, delay_s=_REST_S, last_error=f"chunk {claim.chunk}: {error}")


def _work(claim: Claim) -> None:
    """Score a chunk, store its results, count it.

    Raises:
        LeaseLost: it is not ours any more, or was given back; nothing was stored.
        FiqaError: the storage or Redis failed.
    """
    started = time.monotonic()
    if claim.attempt > 1:
        _log.warning("delivery %d: one before was lost, since its worker died or its lease ran out", claim.attempt)
    with (
        Lease(_ledger(), claim, image_time_limit_s=settings.image_time_limit_s) as lease,
        _drain().holding(partial(_release, lease)),
    ):
        storage = _storage(claim.storage)
        items = [Item.decode(line) for line in read_shard(storage, claim.job_id, "manifest", claim.chunk)]
        results = []
        for result in _pipeline().run(
            items, quarantined=claim.quarantined, on_item_start=lease.on_item_start, isolated=claim.isolated
        ):
            results.append(result)
            lease.check()
        lease.confirm()
        shard = pack(result.encode() for result in results)
        if not storage.write_once(claim.job_id, "results", claim.chunk, shard):
            # An earlier delivery stored it and died, or lost its lease, before it could count: what is stored counts.
            results = [ImageResult.decode(line) for line in read_shard(storage, claim.job_id, "results", claim.chunk)]
        counts = Counts.of(results)
        completion = _complete(claim, counts)
    # If it was deleted, this shard came after the rest. If job.json is still there, Redis was lost, and the storage is
    # what the job is recovered from.
    if completion is Completion.JOB_IS_GONE and storage.read_document(claim.job_id, "job") is None:
        storage.delete(claim.job_id)
    _log.info(
        "%d images, %d scored, %d no face, %d failed, %.1f s",
        len(results),
        counts.scored,
        counts.no_face,
        sum(counts.failed.values()),
        time.monotonic() - started,
    )
    if completion is Completion.JOB_IS_FINISHED:
        _log.info("the job is finished")
        with suppress(FiqaError):  # every worker's reconciler tries again, and says what is wrong
            write_summaries(_ledger())


def _release(lease: Lease) -> None:
    lease.release()
    # Not only when this process has ended: another may have nothing to do.
    publish_tickets(app, _ledger())


def _complete(claim: Claim, counts: Counts) -> Completion:
    """Count the chunk, through a short loss of Redis; after a long one another delivery counts the shard it finds."""
    for attempt in range(1, _COMPLETE_TRIES + 1):
        try:
            return _ledger().complete(claim.job_id, claim.chunk, counts)
        except RedisUnavailableError as error:
            if attempt == _COMPLETE_TRIES:
                raise
            _log.warning("not counted yet: %s", error)
            time.sleep(attempt)
    raise AssertionError


@signals.celeryd_init.connect(weak=False)
@signals.setup_logging.connect(weak=False)
def _set_up_logging(**_: Any) -> None:
    configure(settings.log_format)


class _Operation(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """What the main process does beside Celery's own work."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **options: Any) -> None:
        super().__init__(worker, **options)
        try:
            self._health = Health(settings.health_dir, _ledger(), worker) if settings.health_dir else None
        except OSError as error:
            raise SettingsError(f"FIQA_HEALTH_DIR: cannot write {error.filename}: {error.strerror}") from error

    def start(self, worker: WorkController) -> None:  # noqa: ARG002  Celery's signature
        MainDrain(settings.drain_s, self._health.drain if self._health else lambda: None).install()
        Reconciler(app, _ledger()).start()
        if self._health:
            self._health.start()

    def register_with_event_loop(self, worker: WorkController, hub: Hub) -> None:  # noqa: ARG002  Celery's signature
        """Called anew for every connection."""
        if self._health:
            hub.call_repeatedly(TICKS_EVERY_S, self._health.tick)


app.steps["worker"].add(_Operation)


@signals.worker_process_init.connect(weak=False)
def _start_child(**_: Any) -> None:
    _drain().start()
    _pipeline()
    # What is loaded by now stays to the end: the collector need not go through it again and again.
    gc.collect()
    gc.freeze()
    if settings.health_dir:
        note_loaded(settings.health_dir)
