"""Pause, resume, cancel, delete."""

from __future__ import annotations

import pytest

from fiqa.contract import ErrorCode, JobState, Priority
from fiqa.errors import JobStateError
from fiqa.ledger.claims import Completion, Counts
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.storage.redis import RedisStorage
from tests.keys import DUE, LEASES, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    expire_leases,
    held_by_three,
    opened,
)


def test_a_paused_job_starts_no_chunk_and_finishes_those_that_run(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    ledger.control(job_id, Control.PAUSE)
    assert ledger.claim() is None
    assert ledger.missing_tickets() == 0
    assert all(ledger.renew(claim) for claim in held)
    assert complete(ledger, held[0]) is Completion.COUNTED
    ledger.release(held[1])
    expire_leases(ledger)
    assert ledger.claim() is None
    status = ledger.status(job_id)
    assert (status.state, status.chunks_done) == (JobState.PAUSED, 1)

    ledger.control(job_id, Control.RESUME)
    assert ledger.missing_tickets() == 9
    assert sorted(claimed(ledger).chunk for _ in range(9)) == list(range(1, 10))


def test_a_paused_job_succeeds_if_its_last_chunks_were_running(ledger: Ledger) -> None:
    job_id = opened(ledger)
    claim = claimed(ledger)
    ledger.control(job_id, Control.PAUSE)
    assert complete(ledger, claim) is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_a_cancelled_job_loses_its_leases_and_keeps_its_results(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.control(job_id, Control.CANCEL)
    status = ledger.status(job_id)
    assert (status.state, status.chunks_done, status.scored) == (JobState.CANCELLED, 1, 10)
    assert status.finished is not None
    assert not any(ledger.renew(claim) for claim in held)
    for claim in held:
        ledger.release(claim)
    assert ledger.claim() is None
    assert ledger.connection.redis.zcard(LEASES) == ledger.connection.redis.zcard(DUE) == ledger.missing_tickets() == 0
    assert complete(ledger, held[1]) is Completion.COUNTED  # its shard was stored just before
    assert ledger.done_chunks(job_id) == [0, 1]
    assert ledger.status(job_id).state is JobState.CANCELLED


def test_cancelling_a_job_drops_no_lease_of_another(ledger: Ledger) -> None:
    job_id, _ = held_by_three(ledger)
    other = opened(ledger, priority=Priority.HIGH)
    assert claimed(ledger).job_id == other
    ledger.control(job_id, Control.CANCEL)
    assert [lease.decode() for lease in ledger.connection.redis.zrange(LEASES, 0, -1)] == [f"{other}:0"]


@pytest.mark.parametrize("control", [Control.PAUSE, Control.RESUME, Control.CANCEL])
def test_a_second_call_of_a_control_does_nothing(ledger: Ledger, control: Control) -> None:
    job_id, _ = held_by_three(ledger)
    ledger.control(job_id, control)
    once = (
        ledger.connection.redis.hgetall(job_key(job_id)),
        ledger.connection.redis.zrange(DUE, 0, -1, withscores=True),
    )
    ledger.control(job_id, control)
    assert (
        ledger.connection.redis.hgetall(job_key(job_id)),
        ledger.connection.redis.zrange(DUE, 0, -1, withscores=True),
    ) == once


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (JobState.PREPARING, {Control.PAUSE, Control.RESUME}),
        (JobState.RUNNING, {Control.DELETE}),
        (JobState.PAUSED, {Control.DELETE}),
        (JobState.SUCCEEDED, {Control.PAUSE, Control.RESUME, Control.CANCEL}),
        (JobState.CANCELLED, {Control.PAUSE, Control.RESUME}),
        (JobState.FAILED, {Control.PAUSE, Control.RESUME, Control.CANCEL}),
    ],
)
def test_a_control_that_the_state_does_not_allow_is_an_error_in_one_line_and_changes_nothing(
    ledger: Ledger, state: JobState, refused: set[Control]
) -> None:
    job_id = opened(ledger)
    ledger.connection.redis.hset(job_key(job_id), "state", state)
    before = ledger.connection.redis.hgetall(job_key(job_id))
    for control in refused:
        with pytest.raises(JobStateError, match=rf"^job {job_id} is {state}: cannot {control} it[^\n]*$"):
            ledger.control(job_id, control)
    assert ledger.connection.redis.hgetall(job_key(job_id)) == before
    for control in set(Control) - refused:
        ledger.connection.redis.hset(job_key(job_id), "state", state)
        ledger.control(job_id, control)


def test_a_deleted_job_leaves_nothing(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.connection.redis.hset(job_key(job_id, "manifest"), 0, b"x")
    ledger.control(job_id, Control.CANCEL)
    ledger.control(job_id, Control.DELETE)
    assert ledger.connection.redis.keys() == []
    RedisStorage(ledger.connection).write_once(job_id, "results", 1, b"late")
    assert ledger.connection.redis.keys() == []


# Go on with a job that was stopped by its share of failed images


def stopped(ledger: Ledger, chunks: int = 5) -> str:
    """Make a failed job: its chunk 1 failed, chunk 0 was in work, chunk 2 was released."""
    job_id = opened(ledger, chunks=chunks, images=1000 * chunks)
    first, second, third = (claimed(ledger) for _ in range(3))
    ledger.release(third)
    counts = Counts(scored=400, no_face=0, faces=400, failed={ErrorCode.NOT_FOUND: 600}, models={})
    assert complete(ledger, second, counts) is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.FAILED
    assert first.chunk == 0
    return job_id


def test_a_failed_job_continues_with_a_new_limit_and_nothing_that_was_not_tried_is_lost(ledger: Ledger) -> None:
    job_id = stopped(ledger)
    ledger.control(job_id, Control.RESUME, max_failed=1)
    status = ledger.status(job_id)
    assert (status.state, status.max_failed, status.reason, status.finished) == (JobState.RUNNING, 1, None, None)
    assert (status.failed, status.scored, status.chunks_done) == (600, 400, 1)
    assert ledger.missing_tickets() == 4
    claims = [claimed(ledger) for _ in range(4)]
    assert [claim.chunk for claim in claims] == [0, 2, 3, 4]
    assert [complete(ledger, claim) for claim in claims][-1] is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_a_job_that_continues_expires_only_when_it_has_ended_again(ledger: Ledger) -> None:
    job_id = stopped(ledger)
    redis = ledger.connection.redis
    assert redis.ttl(job_key(job_id)) > 0
    ledger.control(job_id, Control.RESUME, max_failed=1)
    assert redis.ttl(job_key(job_id)) == redis.ttl(job_key(job_id, "done")) == -1


def test_a_failed_job_with_all_results_succeeds_with_a_new_limit(ledger: Ledger) -> None:
    job_id = opened(ledger, images=1000)
    complete(ledger, claimed(ledger), Counts(0, 0, 0, {ErrorCode.NOT_FOUND: 1000}, {}))
    ledger.control(job_id, Control.RESUME, max_failed=1)
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_the_limit_of_a_paused_and_of_a_running_job_can_be_set(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    ledger.control(job_id, Control.RESUME, max_failed=0.25)
    assert ledger.status(job_id).max_failed == 0.25
    ledger.control(job_id, Control.PAUSE)
    ledger.control(job_id, Control.RESUME, max_failed=0.75)
    status = ledger.status(job_id)
    assert (status.state, status.max_failed) == (JobState.RUNNING, 0.75)


def test_a_failed_job_needs_a_new_limit_and_a_cancelled_one_is_retried(ledger: Ledger) -> None:
    job_id = stopped(ledger)
    with pytest.raises(JobStateError, match=rf"without a new limit: `fiqa resume {job_id} --max-failed 1`$"):
        ledger.control(job_id, Control.RESUME)
    cancelled = opened(ledger)
    ledger.control(cancelled, Control.CANCEL)
    with pytest.raises(JobStateError, match=rf"`fiqa retry {cancelled} --rest` makes a new job"):
        ledger.control(cancelled, Control.RESUME, max_failed=1)
    assert ledger.status(cancelled).state is JobState.CANCELLED
