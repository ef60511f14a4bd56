"""Pause, resume, cancel, delete."""

from __future__ import annotations

import pytest

from fiqa.contract import JobState, Priority
from fiqa.errors import JobStateError
from fiqa.ledger.claims import Completion
from fiqa.ledger.control import Control
from fiqa.ledger.keys import DUE, LEASES, job_key
from fiqa.ledger.ledger import Ledger
from fiqa.storage.redis import RedisStorage
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
