"""JobStatus: how far a job is, read from what the ledger keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fiqa.contract import JobState, Priority

PACE_WINDOW_S: Final = 60
PACE_BUCKET_S: Final = 5


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What `fiqa status` shows. Times are Unix seconds of Redis's clock.

    Attributes:
        images_per_s: over the last minute while the job runs, over the whole run once it is finished.
        eta_s: None unless the job runs, has a pace, and workers run.
        reason: why the job was stopped, or what holds it up at the moment.
        parent: the job whose failed images this one tries again.
        models: images by the names of the detector and the quality model, with a slash between.
        max_failed: the share of failed images beyond which the job is stopped.
        keep_s: how long it stays once it is finished, where its storage is Redis.
        workers_run: whether any worker on this Redis gave a sign of life within the last 15 s.
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
    reason: str | None
    priority: Priority
    storage: str
    parent: str | None
    models: dict[str, int]
    max_failed: float
    keep_s: float
    workers_run: bool

    @property
    def images_done(self) -> int:
        return self.scored + self.no_face + self.failed

    @property
    def is_finished(self) -> bool:
        return self.state in {JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED}


def read_status(
    job_id: str, fields: Mapping[bytes, bytes], pace: Mapping[bytes, bytes], now: float, *, workers_run: bool
) -> JobStatus:
    """A job's hash and its `pace` hash, as the ledger keeps them, to what people are shown."""
    text = {name.decode(): value.decode() for name, value in fields.items()}

    def number(name: str) -> int:
        return int(text.get(name, "0"))

    def numbers(prefix: str) -> dict[str, int]:
        return {
            name.removeprefix(prefix): int(value) for name, value in sorted(text.items()) if name.startswith(prefix)
        }

    def time(name: str) -> float | None:
        return float(text[name]) if name in text else None

    state = JobState(text["state"])
    started, finished = time("started"), time("finished")
    images, done = number("images"), number("scored") + number("no_face") + number("failed")
    rate = eta = None
    if started is not None and finished is not None:
        rate = done / max(finished - started, 1e-3)
    elif started is not None and state is JobState.RUNNING:
        # The window begins with a whole bucket, or with the job.
        oldest = int(now - PACE_WINDOW_S) // PACE_BUCKET_S
        recent = sum(int(count) for bucket, count in pace.items() if int(bucket) >= oldest)
        rate = recent / max(now - max(oldest * PACE_BUCKET_S, started), 1e-3)
        eta = (images - done) / rate if rate and workers_run else None
    return JobStatus(
        id=job_id,
        name=text.get("name") or None,
        state=state,
        images=images,
        scored=number("scored"),
        no_face=number("no_face"),
        failed=number("failed"),
        failed_by_code=numbers("failed:"),
        faces=number("faces"),
        chunks=number("chunks"),
        chunks_done=number("done"),
        images_per_s=rate,
        eta_s=eta,
        created=float(text["created"]),
        started=started,
        finished=finished,
        reason=text.get("reason"),
        priority=Priority(text["priority"]),
        storage=text["storage"],
        parent=text.get("parent") or None,
        models=numbers("models:"),
        max_failed=float(text["max_failed"]),
        keep_s=float(text["keep_s"]),
        workers_run=workers_run,
    )
