"""The Celery app, its one task, and the set-up of the worker's processes.

The worker's main process imports this module. Every child imports it again, since the pool is spawned. The path of a
ticket: score_chunk takes it, chunk.py does the work, lease.py holds the chunk, drain.py releases it if the worker ends.
"""

from __future__ import annotations

import gc
import logging
import os
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from billiard.process import current_process
from celery import bootsteps, shared_task, signals
from celery.worker.worker import WorkController
from kombu.asynchronous import Hub

from fiqa.broker import publish_tickets
from fiqa.contract import TASK_NAME
from fiqa.errors import FiqaError, RedisUnavailableError, SettingsError
from fiqa.ledger.connection import Connection
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.overview import read_overview
from fiqa.ledger.workers import WorkerStatus
from fiqa_worker.pipeline.expendable import abandoned
from fiqa_worker.pipeline.roots import Roots
from fiqa_worker.service.app import make_app
from fiqa_worker.service.chunk import ChunkProcessor
from fiqa_worker.service.counters import Counters, SharedCounters
from fiqa_worker.service.drain import ChildDrain, MainDrain
from fiqa_worker.service.fleet import Fleet
from fiqa_worker.service.health import TICKS_EVERY_S, Health, mark_loaded
from fiqa_worker.service.heartbeat import Heartbeat, describe, in_words, machine, worker_id
from fiqa_worker.service.lease import HUNG_EXIT_STATUS
from fiqa_worker.service.logs import configure
from fiqa_worker.service.outage import Outage
from fiqa_worker.service.reconciler import Reconciler, Summaries, SummaryWriter
from fiqa_worker.service.standing import Standing
from fiqa_worker.service.storages import Storages
from fiqa_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from fiqa_worker.pipeline.pipeline import Pipeline

_log = logging.getLogger(__name__)

# A process that has more threads than this stuck in a read is replaced after its chunk. Each thread holds memory, and
# containers limit the number of threads. The number is large, since a process cannot end while a read is stuck in the
# kernel.
_STUCK_THREADS: Final = 64

settings = WorkerSettings.load()
app = make_app(settings.redis_url, settings.namespace)
app.conf.include = [__name__]

# In KiB. Celery compares it, after each chunk, with the most memory that the process ever held.
app.conf.worker_max_memory_per_child = settings.max_child_mb * 1024


@shared_task(name=TASK_NAME)
def score_chunk() -> None:
    """Take one ticket: process one chunk of any due job."""
    try:
        _processor().process_next()
        _outage().end()
        if abandoned() > _STUCK_THREADS:
            _log.error("over %d reads have not returned: this process exits, and is replaced", _STUCK_THREADS)
            os._exit(HUNG_EXIT_STATUS)
    except RedisUnavailableError as error:
        # Nothing is lost: a reconciler replaces a lost ticket, and a claimed chunk is requeued when its lease expires.
        # The pause is needed if Redis hands out tickets but refuses scripts: without it, all tickets would be lost
        # within seconds.
        _outage().report(error)
        _outage().wait(_drain().begun.is_set)


@cache
def _processor() -> ChunkProcessor:
    return ChunkProcessor(
        ledger=_ledger(),
        open_storage=_storages().open,
        load_pipeline=_pipeline,
        standing=Standing(Roots(settings.allowed_sources).root_of),
        fleet=Fleet(_ledger().workers, machine=machine(), worker_id=worker_id(), allowed=settings.allowed_sources),
        drain=_drain(),
        fingerprint=_fingerprint,
        publish_tickets=_publish_tickets,
        on_finished=SummaryWriter(_ledger(), Storages(settings, _ledger().connection).open).write,
        image_time_limit_s=settings.image_time_limit_s,
        counters=_counters(),
    )


@cache
def _outage() -> Outage:
    return Outage()


@cache
def _ledger() -> Ledger:
    # One connection per process. Its threads take turns; each use takes about a millisecond.
    return Ledger(Connection(settings.redis_url, settings.namespace, max_connections=1))


@cache
def _storages() -> Storages:
    return Storages(settings, _ledger().connection)


@cache
def _pipeline() -> Pipeline:
    # Imported here: the main process imports this module, and must not load OpenCV and onnxruntime with it.
    from fiqa_worker.pipeline.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline.load(settings)


@cache
def _counters() -> Counters:
    # The pool numbers its processes from 0. A process that replaces another one has the same number.
    return Counters.of_process(getattr(current_process(), "index", 0))


def _fingerprint() -> str:
    try:
        return _pipeline().identity.fingerprint
    except FiqaError:  # it is reported for the next chunk that is claimed
        return ""


@cache
def _drain() -> ChildDrain:
    return ChildDrain(settings.drain_s)


def _publish_tickets() -> int:
    return publish_tickets(_ledger())


def _serve_metrics(port: int, worker: WorkerStatus, heartbeat: Heartbeat) -> None:
    # Imported here: a worker without metrics, and the pool processes, need none of it.
    from fiqa_worker.service.metrics import LedgerReader, MetricsServer, WorkerMetrics  # noqa: PLC0415

    server = MetricsServer(port)
    # The connection is not shared with the heartbeat: a read of many jobs must not delay it.
    connection = Connection(settings.redis_url, settings.namespace, max_connections=1)
    reader = LedgerReader(partial(read_overview, connection))
    server.start(WorkerMetrics(worker, SharedCounters(worker.processes), lambda: heartbeat.age_s, reader))


@signals.celeryd_init.connect(weak=False)
@signals.setup_logging.connect(weak=False)
def _set_up_logging(**_: Any) -> None:
    configure(settings.log_format)


class _Operation(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """What the main process does besides Celery's own work."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **options: Any) -> None:
        super().__init__(worker, **options)
        try:
            self._health = Health(settings.health_dir, _ledger(), worker) if settings.health_dir else None
        except OSError as error:
            raise SettingsError(f"FIQA_HEALTH_DIR: cannot write {error.filename}: {error.strerror}") from error
        worker_status = describe(app.fiqa_identity, app.fiqa_self_test, settings, processes=worker.concurrency)
        self._heartbeat = Heartbeat(_ledger().workers, worker_status)
        if settings.metrics_port:
            _serve_metrics(settings.metrics_port, worker_status, self._heartbeat)
        _log.info("%s", in_words(worker_status))

    def _drain(self) -> None:
        if self._health:
            self._health.drain()
        self._heartbeat.leave()

    def start(self, worker: WorkController) -> None:  # noqa: ARG002  Celery's signature
        MainDrain(settings.drain_s, self._drain).install()
        self._heartbeat.start()
        Reconciler(_ledger(), _publish_tickets).start()
        Summaries(_ledger(), Storages(settings, _ledger().connection).open).start()
        if self._health:
            self._health.start()

    def register_with_event_loop(self, worker: WorkController, hub: Hub) -> None:  # noqa: ARG002  Celery's signature
        """Celery calls this again for every connection."""
        if self._health:
            hub.call_repeatedly(TICKS_EVERY_S, self._health.tick)


app.steps["worker"].add(_Operation)


@signals.worker_process_init.connect(weak=False)
def _start_child(**_: Any) -> None:
    _drain().start()  # first: the threads that the pipeline's packages start inherit its signal mask
    _pipeline()
    # All objects that exist now stay until the process ends, so the garbage collector need not visit them again.
    gc.collect()
    gc.freeze()
    if settings.health_dir:
        mark_loaded(settings.health_dir)
