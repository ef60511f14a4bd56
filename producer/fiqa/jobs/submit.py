"""Submit a job: write its manifest into the storage, then open it in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Final

from fiqa.contract import Item, JobSpec, JobState
from fiqa.errors import JobStateError, SourceError
from fiqa.jobs.delete import check_no_results, roll_back
from fiqa.ledger.chunk_sizes import ChunkSizes
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.sources.lines import IMAGE_SUFFIXES
from fiqa.storage.shards import pack
from fiqa.storage.storage import Storage
from fiqa.window import in_order

# Chunks start small, so that a job of a hundred images uses every worker. They grow, so that a job of ten million has
# little overhead.
_FIRST_CHUNK: Final = 16
_LAST_CHUNK: Final = 256
_CHUNKS_OF_A_SIZE: Final = 8
# One PUT after the other would take an hour for a hundred million images.
_WRITERS: Final = 8


class _ContestedError(JobStateError):
    """Two submits write the manifest of one job, with different images."""


def chunked(items: Iterable[Item], *, size: int | None = None) -> Iterator[list[Item]]:
    """Cut a stream into chunks of `size` items. None lets chunks grow from 16 to 256 items."""
    target = size or _FIRST_CHUNK
    made = 0
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == target:
            yield chunk
            chunk = []
            made += 1
            if size is None and made % _CHUNKS_OF_A_SIZE == 0:
                target = min(2 * target, _LAST_CHUNK)
    if chunk:
        yield chunk


def submit(
    items: Iterable[Item],
    spec: JobSpec,
    *,
    ledger: Ledger,
    storage: Storage,
    chunk_size: int | None = None,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
) -> JobSpec:
    """Write the manifest chunk by chunk, and open the job when the manifest is complete.

    If the source fails, the job is rolled back. After Ctrl-C the job is left `preparing`.

    Args:
        items: the images.
        spec: the job, without its numbers of images and chunks.
        ledger: where the job is opened.
        storage: where the manifest is written.
        chunk_size: images per chunk; None lets chunks grow.
        resume: replace a job of this id that is `preparing`.
        progress: called with the number of images after each chunk.

    Returns:
        The job with its numbers of images and chunks. Its tickets are not published yet.

    Raises:
        SourceError: the source holds no images.
        JobStateError: a job to resume is not `preparing`; or the job was cancelled or submitted again in between.
        UnknownJobError: a job to resume does not exist; or the job was deleted in between.
    """
    chunks = chunked(items, size=chunk_size)
    first = next(chunks, None)
    if first is None:
        names = ", ".join(IMAGE_SUFFIXES)
        raise SourceError(f"the source holds no images: in a folder or prefix, an image is a name that ends in {names}")
    if resume:
        _check_can_be_replaced(spec.id, ledger=ledger, storage=storage)
    spec, submission = _created(spec, ledger=ledger, storage=storage, resume=resume)
    images = written = 0
    chunk_sizes = ChunkSizes()
    try:
        if resume:
            storage.delete(spec.id)
        write = _writer(spec.id, submission, ledger=ledger, storage=storage)
        lines = ((number, [item.encode() for item in chunk]) for number, chunk in enumerate(chain([first], chunks)))
        with closing(in_order(write, lines, threads=_WRITERS, name="write")) as sizes:
            for _, size in sizes:
                written += 1
                chunk_sizes.add(size)
                images += size
                if progress:
                    progress(images)
        whole = spec.model_copy(update={"images": images, "chunks": written, "chunk_sizes": str(chunk_sizes)})
        ledger.check_submission(spec.id, submission)
        storage.write_document(spec.id, "job", whole.encode() + b"\n")
        _open(whole, submission, ledger=ledger)
    except (KeyboardInterrupt, _ContestedError) as error:
        error.add_note(
            f"job {spec.id} is left `preparing`: submit it again with --resume-id {spec.id}, or `fiqa delete {spec.id}`"
        )
        raise
    except Exception as error:  # a source may raise anything
        roll_back(error, spec.id, submission, ledger=ledger, storage=storage, is_written=images > 0)
        raise
    return whole


def _created(spec: JobSpec, *, ledger: Ledger, storage: Storage, resume: bool) -> tuple[JobSpec, int]:
    """Create the job, under another id if its new id is taken. Return the job and its submission token."""
    while True:
        try:
            return spec, ledger.create(spec, storage=storage.url, replace=resume)
        except JobStateError:
            if resume:
                raise
            # Of 100,000 jobs at 300 per second, about one gets an id of the same second.
            spec = spec.model_copy(update={"id": new_job_id()})


def _writer(
    job_id: str, submission: int, *, ledger: Ledger, storage: Storage
) -> Callable[[tuple[int, list[bytes]]], int]:
    """Return a function that stores a chunk of the manifest and returns its size. Threads call it."""

    def write(chunk: tuple[int, list[bytes]]) -> int:
        number, lines = chunk
        data = pack(lines)
        # The same shard is there if the answer to a first try was lost, or if another submit reads the same source.
        if (
            not storage.write_once(job_id, "manifest", number, data)
            and storage.read(job_id, "manifest", number) != data
        ):
            ledger.check_submission(job_id, submission)
            raise _ContestedError(f"another process submits job {job_id} too, with other images: stop that one")
        return len(lines)

    return write


def _open(spec: JobSpec, submission: int, *, ledger: Ledger) -> None:
    try:
        ledger.open(spec.id, submission, chunks=spec.chunks, images=spec.images, chunk_sizes=spec.chunk_sizes)
    except JobStateError:
        # The job is open if the answer to a first call was lost and the call was repeated.
        status = ledger.status(spec.id)
        if status.state is JobState.CANCELLED or (status.chunks, status.images) != (spec.chunks, spec.images):
            raise


def _check_can_be_replaced(job_id: str, *, ledger: Ledger, storage: Storage) -> None:
    status = ledger.status(job_id)
    if status.state is not JobState.PREPARING:
        raise JobStateError(f"job {job_id} is {status.state}: only one that is `preparing` can be submitted again")
    if status.storage != storage.url:
        raise JobStateError(f"the storage of job {job_id} is {status.storage}: set FIQA_STORAGE to that")
    check_no_results(job_id, storage)
