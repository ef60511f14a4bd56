"""Short calls that make jobs and claim chunks, for the tests of the ledger."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fiqa.contract import JobSpec, Priority
from fiqa.ledger.claims import Claim, Completion, Counts
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.workers import WorkerStatus
from tests.keys import LEASES


def beat(ledger: Ledger, worker: str = "one:1:0", *, seconds: float = 60.0, **facts: Any) -> WorkerStatus:
    """Send a heartbeat of a worker. The id has its host and its process id."""
    host, pid, _ = worker.split(":")
    status = WorkerStatus(id=worker, host=host, pid=int(pid), **facts)
    ledger.workers.beat(status, seconds=seconds)
    return status


def create(
    ledger: Ledger,
    *,
    name: str | None = None,
    priority: Priority = Priority.NORMAL,
    storage: str = "redis",
    **options: Any,
) -> tuple[str, int]:
    """Create a job that is `preparing`; return its id and its submission token."""
    job_id = new_job_id()
    spec = JobSpec(id=job_id, name=name, priority=priority, created=ledger.connection.now(), **options)
    return job_id, ledger.create(spec, storage=storage)


def opened(ledger: Ledger, chunks: int = 1, images: int | None = None, priority: Priority = Priority.NORMAL) -> str:
    """Make a running job, of ten images a chunk unless `images` is given; return its id."""
    job_id, submission = create(ledger, priority=priority)
    ledger.open(job_id, submission, chunks=chunks, images=10 * chunks if images is None else images)
    return job_id


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


def held_by_three(ledger: Ledger) -> tuple[str, list[Claim]]:
    """Make a job of ten chunks; return its id and the claims of the first three."""
    job_id = opened(ledger, chunks=10)
    return job_id, [claimed(ledger) for _ in range(3)]


def scored(images: int = 10) -> Counts:
    return Counts(scored=images, no_face=0, faces=images, failed={}, models={"d/q": images})


def complete(ledger: Ledger, claim: Claim, counts: Counts | None = None) -> Completion:
    return ledger.complete(claim.job_id, claim.chunk, counts or scored())


def expire_leases(ledger: Ledger) -> None:
    """Set the expiry of every lease to the past."""
    for member in ledger.connection.redis.zrange(LEASES, 0, -1):
        ledger.connection.redis.zadd(LEASES, {member: 1})


def turns(ledger: Ledger, number: int) -> Counter[str]:
    """Claim this number of chunks; return how many each job got."""
    return Counter(claimed(ledger).job_id for _ in range(number))
