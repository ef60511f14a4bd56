"""A stream of items to a job: its manifest in the storage, its entry in the ledger, its first tickets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from fiqa.broker import publish_tickets
from fiqa.contract import Item, JobSpec, JobState
from fiqa.errors import (
    FiqaError,
    JobStateError,
    RedisUnavailableError,
    SourceError,
    StorageError,
    UnknownJobError,
)
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.sources.lines import IMAGE_SUFFIXES
from fiqa.sources.manifest import chunked
from fiqa.storage.shards import pack
from fiqa.storage.storage import Storage

if TYPE_CHECKING:
    from celery import Celery


_WRITERS: Final = 8


class _ContestedError(JobStateError):
    """Two submits write the manifest of one job, and of different images."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was submitted."""

    id: str
    name: str | None
    images: int
    chunks: int


def enqueue(
    items: Iterable[Item],
    spec: JobSpec,
    *,
    ledger: Ledger,
    storage: Storage,
    app: Celery,
    chunk_size: int | None = None,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Job:
    """Write the manifest chunk by chunk, and let workers at the job when it is complete.

    Where the source fails, the job is taken out again; on Ctrl-C it is left `preparing`.

    Raises:
        SourceError: there is no image in it.
        JobStateError: a job to be resumed is not `preparing`; or the job was cancelled or submitted again meanwhile.
    """
    chunks = chunked(items, size=chunk_size)
    first = next(chunks, None)
    if first is None:
        names = ", ".join(IMAGE_SUFFIXES)
        raise SourceError(f"the source holds no images: of a folder or prefix, names ending in {names} count")
    if resume:
        _check_can_be_submitted_again(spec.id, ledger=ledger, storage=storage)
    submission = ledger.create(spec, storage=storage.url, replace=resume)
    images = written = 0
    try:
        if resume:
            storage.delete(spec.id)
        write = _writer(spec.id, submission, ledger=ledger, storage=storage)
        for size in _write_behind(write, chain([first], chunks)):
            written += 1
            images += size
            if progress:
                progress(images)
        whole = spec.model_copy(update={"images": images, "chunks": written})
        ledger.check_submission(spec.id, submission)
        storage.write_document(spec.id, "job", whole.encode() + b"\n")
        _open(spec.id, submission, ledger=ledger, chunks=written, images=images)
    except (KeyboardInterrupt, _ContestedError) as error:
        error.add_note(
            f"job {spec.id} is left `preparing`: submit it again with --resume-id {spec.id}, or `fiqa delete {spec.id}`"
        )
        raise
    except Exception as error:  # whatever a source may raise
        _take_out(error, spec.id, submission, ledger=ledger, storage=storage, is_written=images > 0)
        raise
    with suppress(RedisUnavailableError):  # the job is open all the same: the workers' reconciler tops tickets up
        publish_tickets(app, ledger)
    return Job(spec.id, spec.name, images, written)


def _writer(job_id: str, submission: int, *, ledger: Ledger, storage: Storage) -> Callable[[int, list[bytes]], int]:
    """Stores a chunk of a manifest, and returns its size."""

    def write(number: int, lines: list[bytes]) -> int:
        data = pack(lines)
        # The same is there where the answer to a first try was lost, and where another submit reads the same source.
        if (
            not storage.write_once(job_id, "manifest", number, data)
            and storage.read(job_id, "manifest", number) != data
        ):
            ledger.check_submission(job_id, submission)
            raise _ContestedError(f"another process submits job {job_id} too, with other images: stop that one")
        return len(lines)

    return write


def _write_behind(write: Callable[[int, list[bytes]], int], chunks: Iterable[list[Item]]) -> Iterator[int]:
    """Write a manifest, a few chunks at a time while the source is read on; yields what each `write` returns.

    One PUT after the other would take an hour for a hundred million images.
    """
    pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="write")
    waiting: deque[Future[int]] = deque()
    try:
        for number, chunk in enumerate(chunks):
            waiting.append(pool.submit(write, number, [item.encode() for item in chunk]))
            if len(waiting) == _WRITERS:
                yield waiting.popleft().result()
        for written in waiting:
            yield written.result()
    finally:
        pool.shutdown(cancel_futures=True)


def drop(job_id: str, *, ledger: Ledger, storage: Storage) -> None:
    """Delete a finished job, or one left `preparing`: its files first, so that it is listed until nothing is left.

    Raises:
        UnknownJobError: no such job.
        JobStateError: it runs or is paused.
    """
    ledger.abandon(job_id)  # who still submits it would open what has holes
    state = ledger.status(job_id).state
    if state not in {JobState.RUNNING, JobState.PAUSED}:
        storage.delete(job_id)
    with suppress(UnknownJobError):  # who submitted it has done the same
        ledger.control(job_id, Control.DELETE)


def _open(job_id: str, submission: int, *, ledger: Ledger, chunks: int, images: int) -> None:
    try:
        ledger.open(job_id, submission, chunks=chunks, images=images)
    except JobStateError:
        # Asked twice, since the first answer was lost? Then it is as it should be.
        status = ledger.status(job_id)
        if status.state is JobState.CANCELLED or (status.chunks, status.images) != (chunks, images):
            raise


def _take_out(
    error: Exception, job_id: str, submission: int, *, ledger: Ledger, storage: Storage, is_written: bool
) -> None:
    """Leave nothing of a job that did not come about because of the error.

    Raises:
        JobStateError: it runs after all, or another process has taken it over: it stays.
    """
    try:
        with suppress(UnknownJobError):  # deleted meanwhile; what was written after that is still to go
            if not ledger.abandon(job_id, submission):
                ledger.check_submission(job_id, submission)  # raises: it runs
        try:
            storage.delete(job_id)
        except StorageError:
            if is_written:  # else it is the storage that never took anything
                raise
        with suppress(UnknownJobError):
            ledger.control(job_id, Control.DELETE)
    except JobStateError as taken_over:
        raise taken_over from error
    except FiqaError:
        error.add_note(f"what was written of job {job_id} is still there: `fiqa delete {job_id}`")


def _check_can_be_submitted_again(job_id: str, *, ledger: Ledger, storage: Storage) -> None:
    status = ledger.status(job_id)
    if status.state is not JobState.PREPARING:
        raise JobStateError(f"job {job_id} is {status.state}: only one that is `preparing` can be submitted again")
    if status.storage != storage.url:
        raise JobStateError(f"the storage of job {job_id} is {status.storage}: set FIQA_STORAGE to that")
    refuse_results(job_id, storage)


def refuse_results(job_id: str, storage: Storage) -> None:
    """Raises JobStateError where a job that is `preparing` has results: it is being recovered, or was to be."""
    if storage.chunks(job_id, "results"):
        raise JobStateError(f"job {job_id} has results, its recovery was interrupted: `fiqa recover {job_id}`")
