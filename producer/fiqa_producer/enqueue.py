"""A stream of items to a job: its manifest in the home, its entry in the ledger, its first tickets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from fiqa_producer.broker import publish_tickets
from fiqa_producer.contract import Item, JobSpec, JobState
from fiqa_producer.errors import FiqaError, JobStateError, RedisUnavailableError, SourceError
from fiqa_producer.home import Home, pack
from fiqa_producer.ledger import Control, Ledger
from fiqa_producer.manifest import chunked

if TYPE_CHECKING:
    from celery import Celery


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
    home: Home,
    app: Celery,
    chunk_size: int | None = None,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Job:
    """Write the manifest chunk by chunk, and let workers at the job when it is complete.

    Where the source fails, the job is taken out again; on Ctrl-C it is left `preparing`.

    Raises:
        SourceError: there is no image in it.
        JobStateError: a job to be resumed is not `preparing`; or the job was cancelled meanwhile.
    """
    chunks = chunked(items, size=chunk_size)
    first = next(chunks, None)
    if first is None:
        raise SourceError("the source holds no images")
    if resume:
        _clear(spec.id, ledger=ledger, home=home)
    else:
        ledger.create(spec, home=home.url)
    images = number = 0
    try:
        for number, chunk in enumerate(chain([first], chunks)):
            home.write(spec.id, "manifest", number, pack(item.encode() for item in chunk))
            images += len(chunk)
            if progress:
                progress(images)
        whole = spec.model_copy(update={"images": images, "chunks": number + 1})
        home.write_document(spec.id, "job", whole.encode() + b"\n")
        ledger.open(spec.id, chunks=number + 1, images=images)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(
            f"job {spec.id} is left `preparing`: submit it again with --resume-id {spec.id}, or `fiqa delete {spec.id}`"
        )
        raise
    except Exception as error:  # whatever a source may raise
        try:
            ledger.control(spec.id, Control.CANCEL)
            if images:
                home.delete(spec.id)
            ledger.control(spec.id, Control.DELETE)
        except FiqaError:
            error.add_note(f"what was written of job {spec.id} is still there: `fiqa delete {spec.id}`")
        raise
    with suppress(RedisUnavailableError):  # the job is open all the same: the workers' reconciler tops tickets up
        publish_tickets(app, ledger)
    return Job(spec.id, spec.name, images, number + 1)


def drop(job_id: str, *, ledger: Ledger, home: Home) -> None:
    """Delete a finished job: its files first, so that it is listed until nothing of it is left.

    Raises:
        UnknownJobError: no such job.
        JobStateError: it is not finished.
    """
    status = ledger.status(job_id)
    if status.is_finished:
        home.delete(job_id)
    ledger.control(job_id, Control.DELETE)


def _clear(job_id: str, *, ledger: Ledger, home: Home) -> None:
    status = ledger.status(job_id)
    if status.state is not JobState.PREPARING:
        raise JobStateError(f"job {job_id} is {status.state}: only one that is `preparing` can be submitted again")
    if status.home != home.url:
        raise JobStateError(f"the home of job {job_id} is {status.home}: set FIQA_HOME to that")
    home.delete(job_id)
