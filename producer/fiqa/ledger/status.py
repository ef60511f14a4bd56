"""JobStatus: the state and the counters of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fiqa.contract import JobState, Priority


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state and the counters of a job, as `fiqa status` shows them. Times are Unix seconds of Redis's clock.

    Attributes:
        images_per_s: over the last minute while the job runs; over the whole run once it has ended.
            Pauses do not count.
        eta_s: seconds until the job ends; None unless the job runs, has a pace, and workers run.
        last_error: why a chunk was released, until the next chunk is done; None once the job has ended.
        reason: why the job was stopped; None before it has ended.
        parent: the job whose failed images this job tries again.
        models: number of images by detector and quality model, as "detector/quality_model".
        max_failed: the job is stopped if more than this share of its images failed, once at least 1,000 are done.
        keep_s: seconds until Redis forgets a finished job. If its storage is not Redis, its files stay there.
        fingerprint: of the worker that claimed its first chunk; None before that; "*" if any worker may score it.
        options: what it asks of workers besides scores: the JobOptions that differ from their defaults, by name.
        workers_run: whether any worker on this Redis sent a heartbeat within the last 15 s.
        workers_unfit: how many workers run, if none of them has the job's fingerprint; else 0.
    """

    id: str
    name: str | None
    state: JobState
    images: int
    scored: int
    no_face: int
    failed: int
    failed_by_code: dict[str, int]
    faces: int
    chunks: int
    chunks_done: int
    images_per_s: float | None
    eta_s: float | None
    created: float
    started: float | None
    finished: float | None
    last_error: str | None
    reason: str | None
    priority: Priority
    storage: str
    parent: str | None
    models: dict[str, int]
    max_failed: float
    keep_s: float
    fingerprint: str | None
    options: dict[str, Any]
    workers_run: bool
    workers_unfit: int

    @property
    def images_done(self) -> int:
        return self.scored + self.no_face + self.failed

    @property
    def is_finished(self) -> bool:
        return self.state in {JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED}
