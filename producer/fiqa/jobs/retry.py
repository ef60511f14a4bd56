"""Retry a job: submit its failed images as a new job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from fiqa.contract import RETRYABLE, ErrorCode, Item, JobOptions, JobSpec
from fiqa.errors import JobStateError, LostShardError, SourceError, StorageError
from fiqa.jobs.submit import submit
from fiqa.ledger.job_hash import ANY_FINGERPRINT
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import read_results, read_shards
from fiqa.storage.storage import Storage, open_storage
from fiqa.text import count


def retry(
    job_id: str,
    *,
    ledger: Ledger,
    all_failed: bool = False,
    rest: bool = False,
    on_lost: Callable[[StorageError], None] | None = None,
) -> JobSpec:
    """Submit the failed images of a finished job as a new job in the same storage.

    Args:
        job_id: the finished job.
        ledger: where it is, and where the new job is opened.
        all_failed: also retry images that will probably fail again, such as not_found and decode_failed.
        rest: also submit the images that have no result because the job was stopped.
        on_lost: called with an error for each result shard that is gone or damaged. If None, the error is raised.

    Returns:
        The new job. Its tickets are not published yet.

    Raises:
        UnknownJobError: no such job.
        JobStateError: it is not finished.
        SourceError: it has no such images.
        StorageError: the storage does not answer; or a shard is lost, and `on_lost` is None.
    """
    parent = ledger.status(job_id)
    if not parent.is_finished:
        raise JobStateError(f"job {job_id} is {parent.state}: only a finished one can be retried")
    codes = frozenset(map(ErrorCode, parent.failed_by_code)) - {ErrorCode.MANIFEST_LOST}
    if not all_failed:
        codes &= RETRYABLE
    left = sorted(set(range(parent.chunks)).difference(ledger.done_chunks(job_id))) if rest else []
    if not codes and not left:
        failed = ", ".join(f"{count:,} {code}" for code, count in parent.failed_by_code.items()) or "none failed"
        hint = ": these will probably fail again; --all retries them too" if parent.failed else ""
        if parent.images_done < parent.images and not rest:
            left_over = count(parent.images - parent.images_done, "image has", "images have")
            hint += f"; {left_over} no result: --rest submits them"
        raise SourceError(f"job {job_id} has no images to retry: {failed}{hint}")
    storage = open_storage(parent.storage, ledger.connection)
    spec = JobSpec(
        id=new_job_id(),
        name=parent.name,
        priority=parent.priority,
        created=ledger.connection.now(),
        parent=job_id,
        max_failed=parent.max_failed,
        keep_s=parent.keep_s,
        any_worker=parent.fingerprint == ANY_FINGERPRINT,
        options=JobOptions(**parent.options),
    )
    again = _failed_items(job_id, storage, ledger, codes, on_lost) if codes else iter(())
    return submit(chain(again, _items(job_id, storage, left)), spec, ledger=ledger, storage=storage)


def _failed_items(
    job_id: str,
    storage: Storage,
    ledger: Ledger,
    codes: frozenset[ErrorCode],
    on_lost: Callable[[StorageError], None] | None,
) -> Iterator[Item]:
    def lost(_: int, error: LostShardError) -> None:
        if on_lost is None:
            raise error
        on_lost(error)

    chunks, sizes = ledger.done_chunks(job_id), ledger.chunk_sizes(job_id)
    for _, results in read_results(storage, job_id, chunks, sizes=sizes, on_lost=lost):
        for result in results:
            if result.error and result.error.code in codes:
                yield Item(uri=result.uri, id=result.id, version=result.version)


def _items(job_id: str, storage: Storage, chunks: Sequence[int]) -> Iterator[Item]:
    for _, lines in read_shards(storage, job_id, "manifest", chunks):
        yield from map(Item.decode, lines)
