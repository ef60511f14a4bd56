"""Rebuilds the ledger of a job from its home: from job.json, the manifest and the result shards."""

from __future__ import annotations

import json
from collections.abc import Callable

from fiqa_producer.contract import ImageResult, JobSpec, JobState
from fiqa_producer.errors import UnknownJobError
from fiqa_producer.home import Home, read_ahead
from fiqa_producer.ledger import Control, Counts, Ledger, check_job_id


def recover(job_id: str, *, ledger: Ledger, home: Home, progress: Callable[[int, int], None] | None = None) -> None:
    """Enter the job again, count the shards that are there, and let workers at the rest.

    A job that was stopped for good, as its summary.json says, stays so. Where this fails or is interrupted, it takes
    the entry out again; a second call begins anew.

    Raises:
        UnknownJobError: the home holds no such job, or it was never submitted whole.
        JobStateError: Redis knows the job.
        HomeError: the home cannot be read, or a shard is damaged.
    """
    check_job_id(job_id)
    document = home.read_document(job_id, "job")
    if document is None:
        raise UnknownJobError(
            f"no job.json of job {job_id} in {home.url}: its submit was interrupted, or it has another FIQA_HOME"
        )
    spec = JobSpec.decode(document)
    ledger.create(spec, home=home.url)
    try:
        chunks = [chunk for chunk in home.chunks(job_id, "results") if chunk < spec.chunks]
        for number, (chunk, lines) in enumerate(read_ahead(home, job_id, "results", chunks), 1):
            ledger.complete(job_id, chunk, Counts.of([ImageResult.decode(line) for line in lines]))
            if progress:
                progress(number, len(chunks))
        summary = json.loads(home.read_document(job_id, "summary") or b"{}")
        state = summary.get("state")
        ended = JobState(state) if state in {JobState.CANCELLED, JobState.FAILED} else None
        ledger.open(job_id, chunks=spec.chunks, images=spec.images, ended=ended, reason=summary.get("reason"))
    except BaseException:
        ledger.control(job_id, Control.CANCEL)
        ledger.control(job_id, Control.DELETE)
        raise
