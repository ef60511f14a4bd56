"""The job ledger in Redis, as producers and workers call it. keys.py describes what it keeps there."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from itertools import chain
from typing import Final

from fiqa.contract import ErrorCode, JobSpec, JobState
from fiqa.errors import JobStateError
from fiqa.ledger.claims import Claim, Claimant, Completion, Counts, Offer
from fiqa.ledger.connection import Connection
from fiqa.ledger.control import REPLACED, Control, check_allowed, check_preparing, no_job, read_state
from fiqa.ledger.doubts import Doubts
from fiqa.ledger.job_hash import new_fields, read_statuses
from fiqa.ledger.job_id import check_job_id, is_job_id
from fiqa.ledger.limits import LEASE_S
from fiqa.ledger.status import JobStatus
from fiqa.ledger.workers import Workers

_log = logging.getLogger(__name__)

_PAGE: Final = 1000


class Ledger:
    """What Redis knows of every job. Threads may share it.

    Every method raises RedisUnavailableError if Redis does not answer, or refuses. `connection`, `workers`
    and `doubts` are public.
    """

    def __init__(self, connection: Connection | str) -> None:
        """Take a connection, or the URL of a Redis for the default namespace. The first command connects.

        Raises:
            SettingsError: the URL is not a Redis URL.
        """
        self.connection = Connection(connection) if isinstance(connection, str) else connection
        self._keys = self.connection.keys
        self.workers = Workers(self.connection)
        self.doubts = Doubts(self.connection)
        self._create = self.connection.script("create")
        self._open = self.connection.script("open")
        self._abandon = self.connection.script("abandon")
        self._control = self.connection.script("control")
        self._claim = self.connection.script("claim")
        self._renew = self.connection.script("renew")
        self._release = self.connection.script("release")
        self._survived = self.connection.script("survived")
        self._complete = self.connection.script("complete")
        self._repair = self.connection.script("repair")
        self._wrong_answer = self.connection.script("wrong_answer")
        self._missing_tickets = self.connection.script("missing_tickets")
        self._take_summary = self.connection.script("take_summary")
        self._summarized = self.connection.script("summarized")
        self._forget = self.connection.script("forget")
        self._try_reconciler_lock = self.connection.script("try_reconciler_lock")

    def close(self) -> None:
        """Close the connection, also for others that share it."""
        self.connection.close()

    # What producers call

    def create(self, spec: JobSpec, *, storage: str, replace: bool = False) -> int:
        """Create a job in state `preparing`. Workers get its chunks after `open`.

        Args:
            spec: the job.
            storage: the URL of its storage.
            replace: replace a job of this id that is `preparing`. Its submission token becomes invalid.

        Returns:
            A token for this submission. Pass it to `open`; a later `create(replace=True)` invalidates it.

        Raises:
            JobStateError: there is a job of this id.
        """
        submission = secrets.randbits(40)
        fields = new_fields(spec, storage=storage, submission=submission)
        with self.connection.errors():
            created = self._create(args=[spec.id, int(replace), *chain.from_iterable(fields.items())])
        if not created:
            raise JobStateError(f"job {spec.id} is in Redis already: `fiqa status {spec.id}` shows it")
        return submission

    def check_submission(self, job_id: str, submission: int) -> None:
        """Check that `open` would succeed with this submission token.

        Raises:
            UnknownJobError: no such job.
            JobStateError: the job is not `preparing`, or was replaced.
        """
        with self.connection.errors():
            state, found = self.connection.redis.hmget(self._keys.job(job_id), "state", "submission")
        is_replaced = state == b"preparing" and int(found) != submission
        check_preparing(job_id, read_state(job_id, REPLACED if is_replaced else state))

    def abandon(self, job_id: str, submission: int | None = None) -> bool:
        """Cancel a job that is `preparing`. Then nobody can open it or submit it again while it is deleted.

        Args:
            job_id: the job.
            submission: the token that `create` returned; None for any.

        Returns:
            Whether the job is cancelled now.

        Raises:
            UnknownJobError: no such job.
            JobStateError: the job was replaced.
        """
        with self.connection.errors():
            state = self._abandon(args=[check_job_id(job_id), "" if submission is None else submission])
        return read_state(job_id, state) is JobState.CANCELLED

    def open(
        self,
        job_id: str,
        submission: int,
        *,
        chunks: int,
        images: int,
        chunk_sizes: str = "",
        ended: JobState | None = None,
        reason: str | None = None,
    ) -> None:
        """Let workers claim the chunks of a job whose manifest is complete; or end a job that is recovered.

        Args:
            job_id: the job.
            submission: the token that `create` returned.
            chunks: number of chunks in the manifest.
            images: number of images in all chunks.
            chunk_sizes: images in each chunk, as a JobSpec has them.
            ended: the state in which the job had ended before Redis was lost; None if it goes on.
            reason: why it had ended.

        Raises:
            UnknownJobError: no such job.
            JobStateError: the job is not `preparing`, or was replaced.
        """
        with self.connection.errors():
            state = self._open(args=[job_id, submission, chunks, images, ended or "", reason or "", chunk_sizes])
        check_preparing(job_id, read_state(job_id, state))

    def control(
        self, job_id: str, control: Control, *, submission: int | None = None, max_failed: float | None = None
    ) -> None:
        """Pause, resume, cancel or delete a job. It is in effect when this returns; a second call does nothing.

        Args:
            job_id: the job.
            control: what to do.
            submission: the token that `create` returned; None for any.
            max_failed: the new share of failed images that stops the job. With it, `resume` continues a failed job.

        Raises:
            UnknownJobError: no such job.
            JobStateError: the job's state does not allow it, or the job was replaced.
        """
        args = ["" if value is None else value for value in (submission, max_failed)]
        with self.connection.errors():
            state = self._control(args=[check_job_id(job_id), control, *args])
        check_allowed(job_id, control, read_state(job_id, state), reopens=max_failed is not None)

    def status(self, job_id: str) -> JobStatus:
        """Return the state and the counters of a job. This is one round trip, however large the job is.

        Raises:
            UnknownJobError: no such job.
        """
        statuses = read_statuses(self.connection, [check_job_id(job_id)])
        if not statuses:
            raise no_job(job_id)
        return statuses[0]

    def jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """Return the newest jobs, newest first."""
        found: list[JobStatus] = []
        start = 0
        while len(found) < limit:
            end = start + min(limit - len(found), _PAGE) - 1
            with self.connection.errors():
                ids = [raw.decode() for raw in self.connection.redis.zrange(self._keys.jobs, start, end, desc=True)]
            if not ids:
                break
            page = read_statuses(self.connection, ids)
            found += page
            # Jobs that have expired: Redis drops their keys by itself, but not the members of a set.
            if gone := set(ids) - {status.id for status in page}:
                with self.connection.errors():
                    self.connection.redis.zrem(self._keys.jobs, *gone)
                    self.connection.redis.zrem(self._keys.expiring, *gone)
            start += len(page)
        return found

    def known(self) -> tuple[set[str], set[str]]:
        """Return the ids of all jobs, and of those that are `preparing`, in one round trip."""
        with self.connection.errors(), self.connection.redis.pipeline() as pipe:
            pipe.zrange(self._keys.jobs, 0, -1)
            pipe.smembers(self._keys.preparing)
            jobs, preparing = pipe.execute()
        return {raw.decode() for raw in jobs}, {raw.decode() for raw in preparing}

    def done_chunks(self, job_id: str) -> list[int]:
        """Return the chunks whose results are counted, in order."""
        with self.connection.errors():
            bitmap = self.connection.redis.get(self._keys.job(job_id, "done")) or b""
        return [8 * i + bit for i, byte in enumerate(bitmap) if byte for bit in range(8) if byte & (0x80 >> bit)]

    def chunk_sizes(self, job_id: str) -> str:
        """Return how many images each chunk has, as a JobSpec has it; empty if that is not known."""
        with self.connection.errors():
            return (self.connection.redis.hget(self._keys.job(job_id), "sizes") or b"").decode()

    def repair(self, job_id: str, chunks: Sequence[int], *, done: int, counts: Counts) -> JobState | None:
        """Let workers recreate these chunks of a finished job.

        Args:
            job_id: the job.
            chunks: the chunks to recreate.
            done: how many chunks were done when `counts` was computed.
            counts: the sums over the other done chunks.

        Returns:
            The state before. If the job was not finished, nothing changed. None if the number of done chunks is not
            `done`; then nothing changed either.

        Raises:
            UnknownJobError: no such job.
        """
        with self.connection.errors():
            reply = self._repair(args=[check_job_id(job_id), done, len(chunks), *chunks, *counts.increments()])
        return None if reply == b"changed" else read_state(job_id, reply)

    # What workers call

    def claim(self) -> Claim | None:
        """Claim one chunk that is due: by priority, then of the job with the smallest virtual time."""
        return self.claim_for(Claimant()).claim

    def claim_for(self, claimant: Claimant) -> Offer:
        """Claim one chunk that is due and that the claimant takes."""
        while True:
            with self.connection.errors():
                passed_over, unfit, *found = self._claim(
                    args=[LEASE_S, claimant.machine, claimant.fingerprint, claimant.worker, *claimant.avoided]
                )
            if not found or is_job_id(found[0]):
                break
            self._drop_stranger(found[0], int(found[1]))
        return Offer(Claim.read(found) if found else None, int(passed_over), tuple(job.decode() for job in unfit))

    def _drop_stranger(self, job: bytes, chunk: int) -> None:
        """Remove a job from the queue if its id is not one of fiqa's: such an id would become a part of a path."""
        with self.connection.errors():
            self.connection.redis.zrem(self._keys.due, job)
            self.connection.redis.zrem(self._keys.leases, job + b":%d" % chunk)
        _log.warning("job dropped from the queue, its id is not one of fiqa's: %r", job[:80])

    def renew(self, claim: Claim, *, in_flight: int | None = None) -> bool:
        """Keep the chunk for another LEASE_S.

        Args:
            claim: the chunk.
            in_flight: the index of the item that is computed next. It is quarantined if two workers in a row die on it.

        Returns:
            Whether the lease is renewed; False if it is lost.
        """
        item = "" if in_flight is None else in_flight
        with self.connection.errors():
            return bool(self._renew(args=[claim.job_id, claim.chunk, claim.token, LEASE_S, item]))

    def release(self, claim: Claim, *, delay_s: float = 0.0, last_error: str = "", hung: int | None = None) -> None:
        """Release the chunk, so that it can be claimed again. This attempt does not count.

        Args:
            claim: the chunk.
            delay_s: seconds before it can be claimed again.
            last_error: why the chunk was not done; the job's status shows it until a chunk is done.
            hung: the index of an item that took too long. It is quarantined.
        """
        item = "" if hung is None else f"{hung}:{ErrorCode.TIME_LIMIT}"
        with self.connection.errors():
            self._release(args=[claim.job_id, claim.chunk, claim.token, delay_s, last_error, item])

    def survived(self, claim: Claim) -> None:
        """Report that this process is alive after an isolated chunk, even if another process holds the chunk now.

        If its lease was lost, the item that was in flight seems to have killed this process.
        """
        with self.connection.errors():
            self._survived(args=[claim.job_id, claim.chunk, claim.token])

    def wrong_answer(self, claim: Claim, machine: str) -> tuple[int, frozenset[str]]:
        """Count an attempt that failed for a lasting reason, such as a lost manifest.

        Returns:
            The number of such attempts on the chunk, and the machines on which they failed; 0 if the lease is lost.
        """
        with self.connection.errors():
            reply = self._wrong_answer(args=[claim.job_id, claim.chunk, claim.token, "_".join(machine.split()) or "?"])
        number, *machines = (reply or b"0").decode().split()
        return int(number), frozenset(machines)

    def complete(self, job_id: str, chunk: int, counts: Counts) -> Completion:
        """Count a chunk whose results are stored. It counts once, even if several workers call this.

        A chunk of a job that was stopped counts, too: its results are stored.
        """
        with self.connection.errors():
            reply = self._complete(args=[job_id, chunk, *counts.increments()])
        return Completion(reply.decode())

    def waiting_tickets(self) -> int:
        """Return the number of tickets in the queue that no worker has taken."""
        with self.connection.errors():
            return int(self.connection.redis.llen(self._keys.tickets))

    def add_tickets(self, tickets: Sequence[str]) -> None:
        """Put these messages into the queue."""
        with self.connection.errors():
            self.connection.redis.lpush(self._keys.tickets, *tickets)

    def missing_tickets(self, *, count_again: bool = False) -> int:
        """Return how many tickets to publish, so that one waits for each unclaimed chunk, up to MAX_TICKETS.

        Args:
            count_again: count the unclaimed chunks, and correct their number in Redis if it is wrong.
        """
        with self.connection.errors():
            return int(self._missing_tickets(args=[int(count_again)]))

    def try_reconciler_lock(self, *, seconds: float) -> bool:
        """Return whether this process is the one that reconciles for the next `seconds`."""
        with self.connection.errors():
            return bool(self._try_reconciler_lock(args=[int(seconds * 1000)]))

    def ended(self) -> list[str]:
        """Return the finished jobs whose summary is not written yet."""
        with self.connection.errors():
            return sorted(raw.decode() for raw in self.connection.redis.zrange(self._keys.ended, 0, -1))

    def take_summary(self) -> str | None:
        """Return a finished job whose summary must be written now, or None. No other process gets this job."""
        with self.connection.errors():
            job_id = self._take_summary()
            while job_id is not None and not is_job_id(job_id):
                self.connection.redis.zrem(self._keys.ended, job_id)
                job_id = self._take_summary()
        return None if job_id is None else job_id.decode()

    def summarized(self, job_id: str, *, chunks_done: int) -> None:
        """Report that the summary of a job is written, with this number of done chunks."""
        with self.connection.errors():
            self._summarized(args=[job_id, chunks_done])

    def summary_failed(self, job_id: str, error: str) -> None:
        """Show in the status of a finished job why its summary is not written yet."""
        with self.connection.errors():
            if self.connection.redis.exists(self._keys.job(job_id)):
                self.connection.redis.hset(self._keys.job(job_id), "last_error", error)

    def expire_in(self, job_id: str, seconds: float) -> None:
        """Let Redis forget a job after so many seconds, whatever its state, unless it ends earlier."""
        with self.connection.errors(), self.connection.redis.pipeline() as pipe:
            for part in ("", "manifest"):
                pipe.pexpire(self._keys.job(job_id, part), int(1000 * seconds))
            pipe.zadd(self._keys.expiring, {job_id: self.connection.now() + seconds})
            pipe.execute()

    def forget_expired(self) -> int:
        """Delete the ids of expired jobs from the list of jobs, and return their number."""
        with self.connection.errors():
            return int(self._forget())
