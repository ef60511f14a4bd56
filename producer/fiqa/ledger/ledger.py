"""The job ledger in Redis, as producers and workers call it; what it keeps there, and how, is in scripts.py."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from typing import Final, Self

from fiqa.contract import QUEUE, ErrorCode, ImageResult, JobSpec, JobState, Priority, Status
from fiqa.errors import JobStateError, UnknownJobError
from fiqa.ledger.connection import Connection
from fiqa.ledger.scripts import ENDED, HEARTBEAT, JOBS, LEASE_S, Completion, job_key
from fiqa.ledger.status import JobStatus, read_status

LEASES_RENEWED_EVERY_S: Final = 1.5
ALL: Final = 1 << 62  # as a limit of jobs
_REPLACED: Final = b"replaced"  # what scripts say of a job that was entered anew
ISOLATED_FROM_ATTEMPT: Final = 3

_JOB_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
_RANKS: Final = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


def new_job_id() -> str:
    """A job id that sorts by time and is safe in a key, a path and a URL."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Claim:
    """One chunk that this worker holds until its lease runs out.

    Attributes:
        attempt: which delivery of the chunk this is, from 1; one that was given back unharmed is not counted.
        token: of this delivery alone; whoever held the chunk before can do nothing more with it.
        quarantined: items by index that are not touched again, since they killed a worker or hung in it.
    """

    job_id: str
    chunk: int
    attempt: int
    token: int
    storage: str
    quarantined: Mapping[int, ErrorCode]

    @property
    def isolated(self) -> bool:
        """Whether earlier deliveries died, so that each item is noted before it is touched."""
        return self.attempt >= ISOLATED_FROM_ATTEMPT


class Control(StrEnum):
    """What can be done to a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DELETE = "delete"


_ALLOWED_IN: Final = {
    Control.PAUSE: {JobState.RUNNING, JobState.PAUSED},
    Control.RESUME: {JobState.PAUSED, JobState.RUNNING},
    Control.CANCEL: {JobState.PREPARING, JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED},
    Control.DELETE: {JobState.PREPARING, JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED},
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How the images of a chunk ended.

    Attributes:
        models: images by the names of the detector and the quality model, with a slash between.
    """

    scored: int
    no_face: int
    faces: int
    failed: Mapping[ErrorCode, int]
    models: Mapping[str, int]

    @classmethod
    def of(cls, results: Sequence[ImageResult]) -> Self:
        """What these results add up to."""
        return cls(
            scored=sum(result.status is Status.SCORED for result in results),
            no_face=sum(result.status is Status.NO_FACE for result in results),
            faces=sum(len(result.faces) for result in results),
            failed=Counter(result.error.code for result in results if result.error),
            models=Counter(f"{result.detector}/{result.quality_model}" for result in results),
        )


class Ledger:
    """What Redis knows of every job. Safe to share between threads.

    Every method raises RedisUnavailableError where Redis does not answer or refuses.
    """

    def __init__(self, connection: Connection | str) -> None:
        """Take a connection, or the URL of a Redis. The first call connects.

        Raises:
            SettingsError: the URL is not a Redis URL.
        """
        self.connection = Connection(connection) if isinstance(connection, str) else connection
        self._create = self.connection.script("create")
        self._open = self.connection.script("open")
        self._abandon = self.connection.script("abandon")
        self._control = self.connection.script("control")
        self._claim = self.connection.script("claim")
        self._renew = self.connection.script("renew")
        self._release = self.connection.script("release")
        self._complete = self.connection.script("complete")
        self._missing_tickets = self.connection.script("missing_tickets")
        self._reconciler_lock = self.connection.script("try_reconciler_lock")

    def close(self) -> None:
        """Close the connection, even if others share it."""
        self.connection.close()

    # The producer's side

    def create(self, spec: JobSpec, *, storage: str, replace: bool = False) -> int:
        """Enter a job in state `preparing`; nobody works on it before `open`.

        Args:
            spec: the job.
            storage: the URL of its storage.
            replace: in place of one of this id that is `preparing`, which who entered that can no longer open.

        Returns:
            What tells this submission from an earlier or later one of the same id.

        Raises:
            JobStateError: there is a job of this id.
        """
        submission = secrets.randbits(40)
        fields: dict[str, str | int | float] = {
            "name": spec.name or "",
            "priority": spec.priority,
            "rank": _RANKS[spec.priority],
            "storage": storage,
            "created": f"{spec.created:.3f}",
            "parent": spec.parent or "",
            "max_failed": spec.max_failed,
            "keep_s": int(spec.keep_s),
            "submission": submission,
            # After a recovery no fencing token of before is given out again.
            "claims": secrets.randbits(40),
        }
        with self.connection.errors():
            created = self._create(args=[spec.id, int(replace), *chain.from_iterable(fields.items())])
        if not created:
            raise JobStateError(f"job {spec.id} is in Redis already: `fiqa status {spec.id}` shows it")
        return submission

    def check_submission(self, job_id: str, submission: int) -> None:
        """Return if `open` would let workers at this job.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it is not `preparing`, or was entered anew.
        """
        with self.connection.errors():
            state, found = self.connection.redis.hmget(job_key(job_id), "state", "submission")
        if state == b"preparing" and int(found) != submission:
            state = _REPLACED
        _check_opened(job_id, state)

    def abandon(self, job_id: str, submission: int | None = None) -> bool:
        """Cancel a job that is `preparing`, so that nobody opens it or submits it again while it is deleted.

        Args:
            job_id: the job.
            submission: as `create` returned it; None: whoever entered it.

        Returns:
            Whether it is cancelled now.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it was entered anew.
        """
        with self.connection.errors():
            answer = self._abandon(args=[check_job_id(job_id), "" if submission is None else submission])
        if answer is None:
            raise _no_job(job_id)
        if answer == _REPLACED:
            raise _replaced(job_id)
        return bool(answer)

    def open(
        self,
        job_id: str,
        submission: int,
        *,
        chunks: int,
        images: int,
        ended: JobState | None = None,
        reason: str | None = None,
    ) -> None:
        """Let workers at a job whose manifest is complete; or enter one that had ended before it was recovered.

        Args:
            job_id: the job.
            submission: as `create` returned it.
            chunks: of the manifest.
            images: in all of them.
            ended: how the job had ended; None: it goes on.
            reason: why it had.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it is not `preparing`, or was entered anew.
        """
        with self.connection.errors():
            state = self._open(args=[job_id, submission, chunks, images, ended or "", reason or ""])
        _check_opened(job_id, state)

    def control(self, job_id: str, control: Control, *, submission: int | None = None) -> None:
        """Pause, resume, cancel or delete a job; a second time does nothing. In force when it returns.

        Args:
            job_id: the job.
            control: what to do.
            submission: as `create` returned it, of a job that is not open; None: whoever entered it.

        Raises:
            UnknownJobError: no such job.
            JobStateError: its state does not allow it, or it was entered anew.
        """
        check_job_id(job_id)
        with self.connection.errors():
            answer = self._control(args=[job_id, control, "" if submission is None else submission])
        if answer is None:
            raise _no_job(job_id)
        if answer == _REPLACED:
            raise _replaced(job_id)
        state = JobState(answer.decode())
        if state not in _ALLOWED_IN[control]:
            first = f": `fiqa cancel {job_id}` first" if control is Control.DELETE else ""
            raise JobStateError(f"job {job_id} is {state}: cannot {control} it{first}")

    def ended(self) -> list[str]:
        """Finished jobs whose summary is not written yet."""
        with self.connection.errors():
            return sorted(raw.decode() for raw in self.connection.redis.smembers(ENDED))

    def summarized(self, job_id: str) -> None:
        """A job's summary is written."""
        with self.connection.errors():
            self.connection.redis.srem(ENDED, job_id)

    def status(self, job_id: str) -> JobStatus:
        """One round trip, whatever the job's size.

        Raises:
            UnknownJobError: no such job.
        """
        statuses = self._statuses([check_job_id(job_id)])
        if not statuses:
            raise _no_job(job_id)
        return statuses[0]

    def jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """The newest jobs first."""
        with self.connection.errors():
            ids = [raw.decode() for raw in self.connection.redis.zrange(JOBS, 0, limit - 1, desc=True)]
        found = self._statuses(ids)
        # Those whose time was over: Redis drops their keys by itself, and no entry of a set.
        gone = set(ids) - {status.id for status in found}
        if gone:
            with self.connection.errors():
                self.connection.redis.zrem(JOBS, *gone)
        return found

    def _statuses(self, job_ids: list[str]) -> list[JobStatus]:
        with self.connection.errors(), self.connection.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.exists(HEARTBEAT)
            for job_id in job_ids:
                pipe.hgetall(job_key(job_id))
                pipe.hgetall(job_key(job_id, "pace"))
            (seconds, micros), workers_run, *hashes = pipe.execute()
        now = seconds + micros / 1e6
        return [
            read_status(job_id, fields, pace, now, workers_run=bool(workers_run))
            for job_id, fields, pace in zip(job_ids, hashes[::2], hashes[1::2], strict=True)
            if fields
        ]

    def done_chunks(self, job_id: str) -> list[int]:
        """The chunks whose results are complete, in order."""
        with self.connection.errors():
            bitmap = self.connection.redis.get(job_key(job_id, "done")) or b""
        return [8 * i + bit for i, byte in enumerate(bitmap) if byte for bit in range(8) if byte & (0x80 >> bit)]

    # The worker's side

    def claim(self) -> Claim | None:
        """Take one chunk of whatever is due: by priority, then of the job that was served least."""
        with self.connection.errors():
            answer = self._claim(args=[LEASE_S])
        if not answer:
            return None
        job, chunk, attempt, token, storage, quarantined = answer
        pairs = (pair.split(":") for pair in quarantined.decode().split())
        codes = {int(index): ErrorCode(code) for index, code in pairs}
        return Claim(job.decode(), int(chunk), int(attempt), int(token), storage.decode(), codes)

    def waiting_tickets(self) -> int:
        """Tickets in the queue that no worker has taken."""
        with self.connection.errors():
            return int(self.connection.redis.llen(QUEUE))

    def renew(self, claim: Claim, *, in_flight: int | None = None) -> bool:
        """Keep the chunk for another LEASE_S; False: it is no longer ours.

        Args:
            claim: the chunk.
            in_flight: the index of the item that will be touched next; it is skipped if this worker dies of it.
        """
        with self.connection.errors():
            return bool(self._renew(args=[*_held(claim), LEASE_S, "" if in_flight is None else in_flight]))

    def release(self, claim: Claim, *, delay_s: float = 0.0, last_error: str = "", hung: int | None = None) -> None:
        """Give the chunk back; this attempt does not count.

        Args:
            claim: the chunk.
            delay_s: it is handed out again once this has passed.
            last_error: what kept it from being done; shown as the job's reason until a chunk is done.
            hung: the index of an item that took too long; it is skipped from now on.
        """
        skip = "" if hung is None else f"{hung}:{ErrorCode.TIME_LIMIT}"
        with self.connection.errors():
            self._release(args=[*_held(claim), delay_s, last_error, skip])

    def complete(self, job_id: str, chunk: int, counts: Counts) -> Completion:
        """Count a chunk whose results are stored, once, whoever calls and how often.

        A chunk of a job that was stopped meanwhile is counted as well: its results are there.
        """
        pairs: list[str | int] = ["scored", counts.scored, "no_face", counts.no_face, "faces", counts.faces]
        pairs += ["failed", sum(counts.failed.values())]
        for code, number in counts.failed.items():
            pairs += [f"failed:{code}", number]
        for models, number in counts.models.items():
            pairs += [f"models:{models}", number]
        with self.connection.errors():
            return Completion(self._complete(args=[job_id, chunk, *pairs]).decode())

    def missing_tickets(self) -> int:
        """How many tickets to publish so that every unclaimed chunk, up to MAX_TICKETS, has one waiting."""
        with self.connection.errors():
            return int(self._missing_tickets())

    def heartbeat(self, *, seconds: float) -> None:
        """A worker runs, and will say so again within so many seconds."""
        with self.connection.errors():
            # A full Redis takes no SET, and this.
            if not self.connection.redis.pexpire(HEARTBEAT, int(seconds * 1000)):
                self.connection.redis.set(HEARTBEAT, 1, px=int(seconds * 1000))

    def try_reconciler_lock(self, *, seconds: float) -> bool:
        """Whether this process is the one to reconcile for the next `seconds`."""
        with self.connection.errors():
            return bool(self._reconciler_lock(args=[int(seconds * 1000)]))


def _held(claim: Claim) -> tuple[str, int, int]:
    return claim.job_id, claim.chunk, claim.token


def _no_job(job_id: str) -> UnknownJobError:
    return UnknownJobError(f"no job {job_id}: `fiqa jobs` lists those there are")


def _replaced(job_id: str) -> JobStateError:
    return JobStateError(
        f"job {job_id} was taken over meanwhile by another `submit --resume-id` or `recover`: this one leaves it alone"
    )


def _check_opened(job_id: str, state: bytes | None) -> None:
    """What the state that OPEN found means."""
    if state is None:
        raise _no_job(job_id)
    if state == _REPLACED:
        raise _replaced(job_id)
    if state.decode() != JobState.PREPARING:
        raise JobStateError(f"job {job_id} is {state.decode()}: only one that is `preparing` can be opened")


def check_job_id(job_id: str) -> str:
    """The same, if it is a job id; raises UnknownJobError."""
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJobError(f"{job_id!r} is not a job id: `fiqa jobs` lists them")
    return job_id
