"""The hash of a job: what a new job writes into it, and the JobStatus that is read from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fiqa.contract import JobOptions, JobSpec, JobState, Priority
from fiqa.ledger.connection import Connection
from fiqa.ledger.limits import PACE_BUCKET_S, PACE_WINDOW_S
from fiqa.ledger.status import JobStatus

RANKS: Final = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


ANY_FINGERPRINT: Final = "*"  # any worker may score the job


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The workers that run: how many, and which fingerprints they have."""

    workers: int
    fingerprints: set[str]

    def fits(self, fingerprint: str | None) -> bool:
        """Whether a running worker can score a job with this fingerprint. A worker with an empty one fits every job."""
        return bool(self.fingerprints) and (
            fingerprint in {None, ANY_FINGERPRINT} or not self.fingerprints.isdisjoint({fingerprint, ""})
        )


def new_fields(spec: JobSpec, *, storage: str, submission: int) -> dict[str, str | int | float]:
    """Return the fields of a new job.

    Args:
        spec: the job.
        storage: the URL of its storage.
        submission: its submission token.
    """
    return {
        "name": spec.name or "",
        "priority": spec.priority,
        "rank": RANKS.get(spec.priority, RANKS[Priority.NORMAL]),  # a priority of a newer version counts as normal
        "storage": storage,
        "created": f"{spec.created:.3f}",
        "parent": spec.parent or "",
        "max_failed": spec.max_failed,
        "keep_s": int(spec.keep_s),
        "submission": submission,
        **({"fingerprint": ANY_FINGERPRINT} if spec.any_worker else {}),
        **({"options": json.dumps(asked)} if (asked := spec.options.asked) else {}),
    }


def read_statuses(connection: Connection, job_ids: Sequence[str]) -> list[JobStatus]:
    """Return the statuses of these jobs in one round trip. Jobs that Redis does not know are left out.

    Raises:
        RedisUnavailableError: Redis does not answer, or refuses.
    """
    with connection.errors(), connection.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zcard(connection.keys.workers)
        pipe.zrange(connection.keys.fingerprints, 0, -1, withscores=True)
        for job_id in job_ids:
            pipe.hgetall(connection.keys.job(job_id))
            pipe.hgetall(connection.keys.job(job_id, "pace"))
        (seconds, micros), workers, fingerprints, *hashes = pipe.execute()
    now = seconds + micros / 1e6
    fleet = _Fleet(workers, {name.decode() for name, until in fingerprints if until > now})
    return [
        _status(job_id, fields, pace, now, fleet)
        for job_id, fields, pace in zip(job_ids, hashes[::2], hashes[1::2], strict=True)
        if fields
    ]


def _status(
    job_id: str, fields: Mapping[bytes, bytes], pace: Mapping[bytes, bytes], now: float, fleet: _Fleet
) -> JobStatus:
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
    fingerprint = text.get("fingerprint")
    images, done = number("images"), number("scored") + number("no_face") + number("failed")
    rate = eta = None
    if started is not None and finished is not None:
        rate = done / max(finished - started - (time("still_s") or 0), 1e-3)
    elif started is not None and state is JobState.RUNNING:
        # The window starts at the latest of three times: the start of its first bucket, of the job, or of its last
        # resume.
        oldest = int(now - PACE_WINDOW_S) // PACE_BUCKET_S
        recent = sum(int(count) for bucket, count in pace.items() if int(bucket) >= oldest)
        rate = recent / max(now - max(oldest * PACE_BUCKET_S, started, time("resumed") or 0), 1e-3)
        eta = (images - done) / rate if rate and fleet.fits(fingerprint) else None
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
        last_error=text.get("last_error"),
        reason=text.get("reason"),
        priority=Priority(text["priority"]),
        storage=text["storage"],
        parent=text.get("parent") or None,
        models=numbers("models:"),
        max_failed=float(text["max_failed"]),
        keep_s=float(text["keep_s"]),
        fingerprint=fingerprint,
        options=JobOptions.read(text.get("options", "{}")).asked,
        workers_run=bool(fleet.fingerprints),
        workers_unfit=0 if fleet.fits(fingerprint) else fleet.workers,
    )
