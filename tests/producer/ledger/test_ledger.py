"""Jobs in the ledger: create, open, replace, abandon, list, recover."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.contract import JobSpec, JobState, Priority
from fiqa.errors import JobStateError, UnknownJobError
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from tests.keys import DUE, LEASES, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    create,
    held_by_three,
    opened,
    scored,
)
from tests.servers import start_redis
from tests.waiting import wait_until


def test_a_job_is_preparing_and_hands_out_no_chunk_until_it_is_opened(ledger: Ledger) -> None:
    job_id, submission = create(ledger, name="backfill", priority=Priority.LOW)
    before = ledger.status(job_id)
    assert (before.state, before.images, before.chunks, before.started) == (JobState.PREPARING, 0, 0, None)
    assert (before.name, before.priority, before.storage) == ("backfill", Priority.LOW, "redis")
    assert ledger.claim() is None
    assert ledger.missing_tickets() == 0

    ledger.open(job_id, submission, chunks=2, images=20)

    after = ledger.status(job_id)
    assert (after.state, after.images, after.chunks) == (JobState.RUNNING, 20, 2)
    assert not after.is_finished


def test_a_job_is_opened_once(ledger: Ledger) -> None:
    job_id = opened(ledger)
    with pytest.raises(JobStateError, match=rf"^job {job_id} is running: only one that is `preparing` can be opened$"):
        ledger.open(job_id, 0, chunks=5, images=50)
    assert ledger.status(job_id).chunks == 1


def test_a_replaced_job_rejects_the_old_submission_token(ledger: Ledger) -> None:
    job_id, first = create(ledger)
    ledger.check_submission(job_id, first)
    second = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis", replace=True)
    replaced = rf"^job {job_id} was replaced by another `submit --resume-id` or `recover`: "
    with pytest.raises(JobStateError, match=replaced):
        ledger.check_submission(job_id, first)
    with pytest.raises(JobStateError, match=replaced):
        ledger.open(job_id, first, chunks=1, images=1)
    with pytest.raises(JobStateError, match=replaced):
        ledger.abandon(job_id, first)
    with pytest.raises(JobStateError, match=replaced):
        ledger.control(job_id, Control.DELETE, submission=first)
    assert ledger.status(job_id).state is JobState.PREPARING
    assert first != second
    ledger.open(job_id, second, chunks=1, images=1)
    assert not ledger.abandon(job_id, second)
    with pytest.raises(JobStateError, match="is in Redis already"):
        ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis", replace=True)


def test_an_abandoned_job_cannot_be_opened_or_replaced(ledger: Ledger) -> None:
    job_id, submission = create(ledger, storage="s3://b/p")
    assert ledger.abandon(job_id)
    assert ledger.abandon(job_id, submission)
    for late in (
        lambda: ledger.check_submission(job_id, submission),
        lambda: ledger.open(job_id, submission, chunks=1, images=1),
    ):
        with pytest.raises(JobStateError, match=r"is cancelled: only one that is `preparing` can be opened$"):
            late()  # type: ignore[no-untyped-call]
    with pytest.raises(JobStateError, match="is in Redis already"):
        ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="s3://b/p", replace=True)
    assert ledger.ended() == []  # there is nothing to summarize


def test_jobs_are_listed_newest_first(ledger: Ledger) -> None:
    assert ledger.jobs() == []
    ids = []
    for _ in range(3):
        ids.append(create(ledger)[0])
        time.sleep(0.002)
    assert [job.id for job in ledger.jobs()] == ids[::-1]
    assert [job.id for job in ledger.jobs(limit=2)] == ids[:0:-1]
    assert ledger.jobs(limit=1) == [ledger.status(ids[-1])]


@pytest.mark.parametrize(
    "act", [lambda ledger, job: ledger.status(job), lambda ledger, job: ledger.open(job, 0, chunks=1, images=1)]
)
def test_an_unknown_job_is_an_error_that_says_where_to_look(ledger: Ledger, act: Callable[[Ledger, str], None]) -> None:
    job_id = new_job_id()
    with pytest.raises(UnknownJobError, match=rf"^no job {job_id}: `fiqa jobs` lists the newest$"):
        act(ledger, job_id)
    assert ledger.connection.redis.keys() == []


def test_a_recovered_job_hands_out_chunks_that_are_not_done(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa.ledger.ledger.LEASE_S", 200)  # 2,001 claims may take longer than 10 s
    done = {*range(5000), 5002, 7000}
    job_id, submission = create(ledger)
    for chunk in done:
        ledger.complete(job_id, chunk, scored())
    ledger.open(job_id, submission, chunks=7003, images=70_030)
    held = [claimed(ledger).chunk for _ in range(2001)]
    assert held == [chunk for chunk in range(7003) if chunk not in done]
    assert ledger.claim() is None
    status = ledger.status(job_id)
    assert (status.state, status.chunks_done, status.scored) == (JobState.RUNNING, 5002, 50_020)


@pytest.mark.parametrize("done", [range(8, 20), range(9, 20), range(1, 20), range(8, 16), range(16, 20), [7, 19]])
def test_a_recovered_job_hands_out_no_chunk_that_does_not_exist(ledger: Ledger, done: Sequence[int]) -> None:
    job_id, submission = create(ledger)
    for chunk in done:
        ledger.complete(job_id, chunk, scored())
    ledger.open(job_id, submission, chunks=20, images=200)
    claims = list(iter(ledger.claim, None))
    assert [claim.chunk for claim in claims] == [chunk for chunk in range(20) if chunk not in done]
    assert ledger.missing_tickets() == 0
    for claim in claims:
        complete(ledger, claim)
    status = ledger.status(job_id)
    assert (status.state, status.chunks_done, status.images_done) == (JobState.SUCCEEDED, 20, 200)


def test_two_claims_have_different_tokens_if_a_failover_loses_the_first(ledger: Ledger, tmp_path: Path) -> None:
    job_id = opened(ledger, chunks=1)
    main = ledger.connection.redis
    with start_redis(tmp_path) as server, closing(Ledger(server.url)) as promoted:
        replica = promoted.connection.redis
        replica.replicaof("127.0.0.1", main.connection_pool.connection_kwargs["port"])
        wait_until(lambda: replica.exists(job_key(job_id)))
        replica.replicaof("NO", "ONE")
        lost, held = claimed(ledger), claimed(promoted)
        assert (lost.job_id, lost.chunk, lost.attempt) == (held.job_id, held.chunk, held.attempt)
        assert lost.token != held.token
        assert not promoted.renew(lost)
        assert promoted.renew(held)


def test_a_job_that_lost_only_its_hash_is_recovered_from_the_start(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.release(held[1])
    ledger.connection.redis.delete(job_key(job_id), DUE, LEASES)
    submission = ledger.create(JobSpec(id=job_id, created=0), storage="redis")
    ledger.open(job_id, submission, chunks=3, images=30)
    assert [claimed(ledger).chunk for _ in range(3)] == [0, 1, 2]
    assert ledger.done_chunks(job_id) == []


def test_a_recovered_job_with_all_chunks_done_has_succeeded(ledger: Ledger) -> None:
    job_id, submission = create(ledger)
    for chunk in range(3):
        ledger.complete(job_id, chunk, scored())
    ledger.open(job_id, submission, chunks=3, images=30)
    assert ledger.status(job_id).state is JobState.SUCCEEDED
    assert ledger.claim() is None


def test_a_fencing_token_from_before_the_recovery_is_invalid(ledger: Ledger) -> None:
    spec = JobSpec(id=new_job_id(), created=ledger.connection.now())
    claims = []
    for _ in range(2):
        ledger.connection.redis.flushall()
        submission = ledger.create(spec, storage="s3://photos/fiqa")
        ledger.open(spec.id, submission, chunks=1, images=10)
        claims.append(claimed(ledger))
    late, holder = claims
    assert late.token != holder.token
    assert not ledger.renew(late)
    assert ledger.renew(holder)
