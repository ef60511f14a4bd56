"""Rebuilds the ledger of a job from its home: from job.json, the manifest and the result shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from fiqa.contract import ImageResult, JobSpec, JobState
from fiqa.errors import HomeError, JobStateError, UnknownJobError
from fiqa.ledger.ledger import Control, Counts, Ledger, check_job_id
from fiqa.storage.storage import Home, read_ahead


def recover(job_id: str, *, ledger: Ledger, home: Home, progress: Callable[[int, int], None] | None = None) -> None:
    """Enter the job again, count the shards that are there, and let workers at the rest.

    A job that was stopped for good, as its summary.json says, stays so. Where this fails or is interrupted, it takes
    the entry out again; a second call begins anew.

    Raises:
        UnknownJobError: the home holds no such job, or it was never submitted whole.
        JobStateError: Redis knows the job.
        HomeError: the home cannot be read, or a shard is damaged.
        ContractError: job.json or a line of a shard is damaged.
    """
    check_job_id(job_id)
    document = home.read_document(job_id, "job")
    if document is None:
        raise UnknownJobError(
            f"no job.json of job {job_id} in {home.url}: its submit was interrupted, or it has another FIQA_HOME"
        )
    spec = JobSpec.decode(document)
    entry = _enter(spec, ledger=ledger, home=home)
    try:
        chunks = [chunk for chunk in home.chunks(job_id, "results") if chunk < spec.chunks]
        for number, (chunk, lines) in enumerate(read_ahead(home, job_id, "results", chunks), 1):
            ledger.complete(job_id, chunk, Counts.of([ImageResult.decode(line) for line in lines]))
            if progress:
                progress(number, len(chunks))
        ended, reason = _ending(home.read_document(job_id, "summary"))
        ledger.open(job_id, entry, chunks=spec.chunks, images=spec.images, ended=ended, reason=reason)
    except BaseException:
        with suppress(UnknownJobError, JobStateError):
            ledger.control(job_id, Control.DELETE, entry=entry)  # in Redis; its home stays
        raise


def _enter(spec: JobSpec, *, ledger: Ledger, home: Home) -> int:
    try:
        return ledger.create(spec, home=home.url)
    except JobStateError:
        # With a job.json and yet `preparing`: a recovery that was killed.
        if ledger.status(spec.id).state is not JobState.PREPARING:
            raise
        return ledger.create(spec, home=home.url, anew=True)


def _ending(document: bytes | None) -> tuple[JobState | None, str | None]:
    """How a job was stopped for good, as its summary.json says, and why."""
    try:
        summary = json.loads(document or b"{}")
        state, reason = summary.get("state"), summary.get("reason")
    except (ValueError, AttributeError):
        raise HomeError("summary.json is damaged: delete it, and the job goes on") from None
    return (JobState(state), reason) if state in {JobState.CANCELLED, JobState.FAILED} else (None, None)
