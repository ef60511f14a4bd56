"""Rebuilds the ledger of a job from its storage: from job.json, the manifest and the result shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from fiqa.contract import ImageResult, JobSpec, JobState
from fiqa.errors import JobStateError, StorageError, UnknownJobError
from fiqa.ledger.claims import Counts
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import check_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import read_shards
from fiqa.storage.storage import Storage


def recover(
    job_id: str, *, ledger: Ledger, storage: Storage, progress: Callable[[int, int], None] | None = None
) -> None:
    """Enter the job again, count the shards that are there, and let workers at the rest.

    A job that was stopped for good, as its summary.json says, stays so. Where this fails or is interrupted, it takes
    the entry out again; a second call begins anew.

    Raises:
        UnknownJobError: the storage holds no such job, or it was never submitted whole.
        JobStateError: Redis knows the job.
        StorageError: the storage cannot be read, or a shard is damaged.
        ContractError: job.json or a line of a shard is damaged.
    """
    check_job_id(job_id)
    document = storage.read_document(job_id, "job")
    if document is None:
        raise UnknownJobError(
            f"no job.json of job {job_id} in {storage.url}: its submit was interrupted, or it has another FIQA_STORAGE"
        )
    spec = JobSpec.decode(document)
    submission = _enter(spec, ledger=ledger, storage=storage)
    try:
        chunks = [chunk for chunk in storage.chunks(job_id, "results") if chunk < spec.chunks]
        for number, (chunk, lines) in enumerate(read_shards(storage, job_id, "results", chunks), 1):
            ledger.complete(job_id, chunk, Counts.of([ImageResult.decode(line) for line in lines]))
            if progress:
                progress(number, len(chunks))
        ended, reason = _ending(storage.read_document(job_id, "summary"))
        ledger.open(job_id, submission, chunks=spec.chunks, images=spec.images, ended=ended, reason=reason)
    except BaseException:
        with suppress(UnknownJobError, JobStateError):
            ledger.control(job_id, Control.DELETE, submission=submission)  # in Redis; its storage stays
        raise


def _enter(spec: JobSpec, *, ledger: Ledger, storage: Storage) -> int:
    try:
        return ledger.create(spec, storage=storage.url)
    except JobStateError:
        # With a job.json and yet `preparing`: a recovery that was killed.
        if ledger.status(spec.id).state is not JobState.PREPARING:
            raise
        return ledger.create(spec, storage=storage.url, replace=True)


def _ending(document: bytes | None) -> tuple[JobState | None, str | None]:
    """How a job was stopped for good, as its summary.json says, and why."""
    try:
        summary = json.loads(document or b"{}")
        state, reason = summary.get("state"), summary.get("reason")
    except (ValueError, AttributeError):
        raise StorageError("summary.json is damaged: delete it, and the job goes on") from None
    return (JobState(state), reason) if state in {JobState.CANCELLED, JobState.FAILED} else (None, None)
