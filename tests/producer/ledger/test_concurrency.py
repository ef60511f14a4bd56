"""Many threads at one ledger."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

from fiqa.contract import JobState, Priority
from fiqa.ledger.claims import Claim, Completion
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from tests.keys import DUE, LEASES, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    expire_leases,
    opened,
)


def test_many_workers_get_each_chunk_once_and_the_counts_add_up(ledger: Ledger) -> None:
    jobs = [opened(ledger, chunks=chunks) for chunks in (60, 40, 20)]

    def work(_: int) -> list[tuple[str, int]]:
        got = []
        while claim := ledger.claim():
            got.append((claim.job_id, claim.chunk))
            complete(ledger, claim)
        return got

    with ThreadPoolExecutor(6) as pool:
        got = [chunk for chunks in pool.map(work, range(6)) for chunk in chunks]

    assert sorted(got) == sorted(
        (job, n) for job, chunks in zip(jobs, (60, 40, 20), strict=True) for n in range(chunks)
    )
    statuses = [ledger.status(job) for job in jobs]
    assert [status.state for status in statuses] == [JobState.SUCCEEDED] * 3
    assert [status.scored for status in statuses] == [600, 400, 200]


def test_counts_are_exact_whatever_workers_do(ledger: Ledger) -> None:
    jobs = [opened(ledger, chunks=25, priority=priority) for priority in Priority]
    finishes: list[str] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311  not a secret
        old: list[Claim] = []
        while not all(status.is_finished for status in ledger.jobs()):
            claim = ledger.claim()
            if claim is None:
                expire_leases(ledger)
                continue
            old.append(claim)
            fate = dice.choice(["complete", "complete", "die", "release", "error", "late"])
            if fate == "complete" and ledger.renew(claim, in_flight=dice.randrange(10)):
                finishes.extend([claim.job_id] * (complete(ledger, claim) is Completion.JOB_IS_FINISHED))
            elif fate == "release":
                ledger.release(claim, hung=dice.choice([None, 3]))
            elif fate == "error":
                ledger.release(claim, delay_s=60, last_error="x")
            elif fate == "late":
                late = dice.choice(old)
                finishes.extend([late.job_id] * (complete(ledger, late) is Completion.JOB_IS_FINISHED))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert sorted(finishes) == sorted(jobs)
    for job in jobs:
        status = ledger.status(job)
        assert (status.state, status.chunks_done, status.scored) == (JobState.SUCCEEDED, 25, 250)
    assert ledger.claim() is None
    assert ledger.connection.redis.zcard(DUE) == ledger.connection.redis.zcard(LEASES) == 0
    parts = {key.decode().rpartition(":")[2] for job in jobs for key in ledger.connection.redis.keys(job_key(job, "*"))}
    assert parts == {"done"}


def test_pauses_and_resumes_at_the_same_time_leave_a_job_consistent(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=200)

    def control(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311  not a secret
        for _ in range(100):
            ledger.control(job_id, dice.choice([Control.PAUSE, Control.RESUME]))
            claim = ledger.claim()
            if claim and dice.random() < 0.5:
                complete(ledger, claim)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(control, range(4)))
    ledger.control(job_id, Control.RESUME)
    while not ledger.status(job_id).is_finished:
        expire_leases(ledger)
        complete(ledger, claimed(ledger))
    status = ledger.status(job_id)
    assert (status.state, status.chunks_done, status.scored) == (JobState.SUCCEEDED, 200, 2000)
