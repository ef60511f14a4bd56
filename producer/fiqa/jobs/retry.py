"""Retry a job: submit its failed images as a new job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fiqa.contract import RETRYABLE, ErrorCode, Item, JobSpec
from fiqa.errors import JobStateError, SourceError
from fiqa.jobs.submit import submit
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import read_results
from fiqa.storage.storage import Storage, open_storage


def retry(job_id: str, *, ledger: Ledger, all_failed: bool = False) -> JobSpec:
    """Submit the failed images of a finished job as a new job in the same storage.

    Args:
        job_id: the finished job.
        ledger: where it is, and where the new job is opened.
        all_failed: retry also images that will probably fail again, such as not_found and decode_failed.

    Returns:
        The new job. Its tickets are not published yet.

    Raises:
        UnknownJobError: no such job.
        JobStateError: it is not finished.
        SourceError: it has no such images.
    """
    parent = ledger.status(job_id)
    if not parent.is_finished:
        raise JobStateError(f"job {job_id} is {parent.state}: only a finished one can be retried")
    codes = frozenset(ErrorCode) if all_failed else RETRYABLE
    if not any(code in parent.failed_by_code for code in codes):
        failed = ", ".join(f"{count:,} {code}" for code, count in parent.failed_by_code.items()) or "none failed"
        hint = ": these will probably fail again; --all retries them too" if parent.failed else ""
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
    )
    items = _failed_items(job_id, storage, ledger.done_chunks(job_id), codes)
    return submit(items, spec, ledger=ledger, storage=storage)


def _failed_items(job_id: str, storage: Storage, chunks: Sequence[int], codes: frozenset[ErrorCode]) -> Iterator[Item]:
    for _, results in read_results(storage, job_id, chunks):
        for result in results:
            if result.error and result.error.code in codes:
                yield Item(uri=result.uri, id=result.id, version=result.version)
