"""Recover a job after Redis was lost: rebuild it in the ledger from job.json and the result shards in its storage."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from fiqa.contract import JobSpec, JobState
from fiqa.errors import ContractError, JobStateError, LostShardError, StorageError, UnknownJobError
from fiqa.ledger.claims import Counts
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import check_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import read_results
from fiqa.storage.storage import Storage


def recoverable(*, ledger: Ledger, storage: Storage) -> list[str]:
    """Return the jobs in a storage that Redis does not know, oldest first.

    It also returns jobs that are `preparing` although their manifest is complete: a failover of Redis lost the opening.
    """
    in_storage = storage.jobs()
    known, preparing = ledger.known()
    return [
        job_id
        for job_id in in_storage
        if job_id not in known or (job_id in preparing and storage.read_document(job_id, "job") is not None)
    ]


def recover(
    job_id: str,
    *,
    ledger: Ledger,
    storage: Storage,
    progress: Callable[[int, int], None] | None = None,
    on_lost: Callable[[StorageError], None] | None = None,
) -> None:
    """Create the job again, count the result shards that are there, and let workers claim the other chunks.

    If its summary.json says that the job was cancelled or failed, it stays so. If this call fails or is interrupted, it
    deletes the job from the ledger, and a second call starts from the beginning.

    Args:
        job_id: the job.
        ledger: where the job is rebuilt.
        storage: where its shards are.
        progress: called after each shard with two numbers: shards counted so far, and all shards.
        on_lost: called with an error for each shard that is damaged. Workers recreate it.

    Raises:
        UnknownJobError: the storage does not hold such a job, or its submit was interrupted.
        JobStateError: Redis knows the job.
        StorageError: the storage cannot be read.
        ContractError: job.json is damaged.
    """
    check_job_id(job_id)
    document = storage.read_document(job_id, "job")
    if document is None:
        raise UnknownJobError(
            f"no job.json of job {job_id} in {storage.url}: its submit was interrupted, or it has another FIQA_STORAGE"
        )
    spec = JobSpec.decode(document)
    if spec.id != job_id:
        raise ContractError(f"job.json of job {job_id} in {storage.url} is of job {spec.id}: put the right file back")
    submission = _create(spec, ledger=ledger, storage=storage)

    def lost(_: int, error: LostShardError) -> None:
        if on_lost:
            on_lost(error)

    try:
        chunks = [chunk for chunk in storage.chunks(job_id, "results") if chunk < spec.chunks]
        for number, (chunk, results) in enumerate(
            read_results(storage, job_id, chunks, sizes=spec.chunk_sizes, on_lost=lost), 1
        ):
            ledger.complete(job_id, chunk, Counts.of(results))
            if progress:
                progress(number, len(chunks))
        ended, reason = _ending(job_id, storage)
        ledger.open(
            job_id,
            submission,
            chunks=spec.chunks,
            images=spec.images,
            chunk_sizes=spec.chunk_sizes,
            ended=ended,
            reason=reason,
        )
    except BaseException:
        with suppress(UnknownJobError, JobStateError):
            ledger.control(job_id, Control.DELETE, submission=submission)  # in Redis only: its files stay
        raise


def _create(spec: JobSpec, *, ledger: Ledger, storage: Storage) -> int:
    try:
        return ledger.create(spec, storage=storage.url)
    except JobStateError:
        # A job that has a job.json and is `preparing` is left over from a recovery that was killed.
        if ledger.status(spec.id).state is not JobState.PREPARING:
            raise
        return ledger.create(spec, storage=storage.url, replace=True)


def _ending(job_id: str, storage: Storage) -> tuple[JobState | None, str | None]:
    """Return the state and the reason if the job was cancelled or failed, as its summary.json says."""
    try:
        summary = json.loads(storage.read_document(job_id, "summary") or b"{}")
        state, reason = summary.get("state"), summary.get("reason")
    except (ValueError, AttributeError):
        raise StorageError(
            f"summary.json of job {job_id} in {storage.url} is damaged: delete it, and the job continues"
        ) from None
    return (JobState(state), reason) if state in {JobState.CANCELLED, JobState.FAILED} else (None, None)
