"""The Celery app of the worker, its process set-up, and the one task.

Imported in the worker's main process and, since pools are spawned, once in every child.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from billiard.process import active_children
from celery import shared_task, signals

from fiqa_producer.broker import make_app, publish_tickets
from fiqa_producer.contract import TASK_NAME, ImageResult, Item
from fiqa_producer.errors import FiqaError, RedisUnavailableError
from fiqa_producer.home import Home, open_home, pack, unpack
from fiqa_producer.ledger import Claim, Completion, Counts, Ledger
from fiqa_producer.summary import write_summaries
from fiqa_worker.lease import Lease, LeaseLost
from fiqa_worker.reconciler import Reconciler
from fiqa_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from fiqa_worker.pipeline import Pipeline

_log = logging.getLogger(__name__)

# How long a chunk rests after its home, or anything else but an image, kept it from being done.
_REST_S: Final = 10.0
_COMPLETE_TRIES: Final = 5

settings = WorkerSettings.load()
app = make_app(settings.redis_url)
app.conf.include = [__name__]

# Celery's two lines a ticket say less than this file's one a chunk.
for _name in ("celery.worker.strategy", "celery.app.trace"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_stopping = threading.Event()


class _Stopped(Exception):  # noqa: N818  it is news, not an error
    """This worker was asked to end."""


@cache
def _ledger() -> Ledger:
    return Ledger(settings.redis_url)


@cache
def _home(url: str) -> Home:
    return open_home(url, _ledger())


@cache
def _pipeline() -> Pipeline:
    # Here, so that the main process holds neither OpenCV nor onnxruntime.
    from fiqa_worker.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline.load(settings)


@shared_task(name=TASK_NAME)
def score_chunk() -> None:
    """One ticket: one chunk of whatever is due."""
    if _stopping.is_set():
        return
    claim = _ledger().claim()
    if claim is None:
        return
    try:
        _work(claim)
    except LeaseLost:
        _log.info("job %s chunk %d: lost or stopped, left to others", claim.job_id, claim.chunk)
    except _Stopped:
        _ledger().release(claim)
    except Exception as error:  # noqa: BLE001  logged, and shown as the job's reason
        _log.exception("job %s chunk %d: put back for %g s", claim.job_id, claim.chunk, _REST_S)
        _ledger().release(claim, delay_s=_REST_S, trouble=f"chunk {claim.chunk}: {error}")
    publish_tickets(app, _ledger())


def _work(claim: Claim) -> None:
    """Score a chunk, store its results, count it.

    Raises:
        LeaseLost: it is not ours any more; nothing was stored.
        _Stopped: this worker was asked to end; nothing was stored.
        FiqaError: the home or Redis failed.
    """
    started = time.monotonic()
    with Lease(_ledger(), claim, image_time_limit_s=settings.image_time_limit_s) as lease:
        home = _home(claim.home)
        items = [Item.decode(line) for line in unpack(home.read(claim.job_id, "manifest", claim.chunk))]
        results = []
        for result in _pipeline().run(items, skips=claim.skips, touch=lease.touch, one_by_one=claim.careful):
            results.append(result)
            lease.check()
            if _stopping.is_set():
                raise _Stopped
        lease.rest()
        lease.confirm()
        shard = pack(result.encode() for result in results)
        if not home.write_once(claim.job_id, "results", claim.chunk, shard):
            # An earlier delivery stored it and died, or lost its lease, before it could count: what is stored counts.
            results = [ImageResult.decode(line) for line in unpack(home.read(claim.job_id, "results", claim.chunk))]
        counts = Counts.of(results)
        completion = _complete(claim, counts)
    if completion is Completion.JOB_IS_GONE:
        home.delete(claim.job_id)  # this shard came after the rest was deleted
    if completion is Completion.JOB_IS_FINISHED:
        _log.info("job %s: finished", claim.job_id)
        with suppress(FiqaError):  # every worker's reconciler tries again, and says what is wrong
            write_summaries(_ledger())
    _log.info(
        "job %s chunk %d: %d images, %d scored, %d no face, %d failed, %.1f s",
        claim.job_id,
        claim.chunk,
        len(results),
        counts.scored,
        counts.no_face,
        sum(counts.failed.values()),
        time.monotonic() - started,
    )


def _complete(claim: Claim, counts: Counts) -> Completion:
    """Count the chunk, through a short loss of Redis; after a long one another delivery counts the shard it finds."""
    for attempt in range(1, _COMPLETE_TRIES + 1):
        try:
            return _ledger().complete(claim.job_id, claim.chunk, counts)
        except RedisUnavailableError as error:
            if attempt == _COMPLETE_TRIES:
                raise
            _log.warning("job %s chunk %d: not counted yet: %s", claim.job_id, claim.chunk, error)
            time.sleep(attempt)
    raise AssertionError


@signals.worker_ready.connect(weak=False)
def _start_reconciler(**_: Any) -> None:
    reconciler = Reconciler(app, _ledger())
    reconciler.start()


@signals.worker_shutting_down.connect(weak=False)
def _stop_children(**_: Any) -> None:
    """SIGTERM reaches the main process only: tell the children, which then give their chunks back at once."""
    for child in active_children():
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGUSR2)


@signals.worker_process_init.connect(weak=False)
def _start_child(**_: Any) -> None:
    signal.signal(signal.SIGUSR2, lambda *_: _stopping.set())
    _pipeline()
