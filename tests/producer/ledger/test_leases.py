"""Leases: expired, renewed, lost, released; and items that kill a worker or hang."""

from __future__ import annotations

import time

import pytest

from fiqa.contract import ErrorCode
from fiqa.ledger.claims import Claim, Counts
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import LEASE_S
from tests.keys import LEASES, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    expire_leases,
    opened,
)


def test_an_expired_lease_goes_to_another_worker_and_counts_as_an_attempt(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fiqa.ledger.ledger.LEASE_S", 0.05)
    job_id = opened(ledger)
    attempts = []
    for _ in range(4):
        attempts.append(claimed(ledger))
        time.sleep(0.06)
    tokens = [claim.token for claim in attempts]
    assert tokens == sorted(set(tokens))
    assert attempts == [Claim(job_id, 0, number, token, "redis", {}) for number, token in enumerate(tokens, 1)]
    assert [claim.isolated for claim in attempts] == [False, False, True, True]


def test_a_leased_chunk_is_not_handed_out(ledger: Ledger) -> None:
    opened(ledger)
    claimed(ledger)
    assert ledger.claim() is None
    assert ledger.missing_tickets() == 0


def test_a_lease_that_just_expired_can_be_renewed(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    expire_leases(ledger)
    assert ledger.renew(claim)
    assert ledger.claim() is None


def test_a_worker_that_lost_its_lease_changes_nothing(ledger: Ledger) -> None:
    opened(ledger)
    late = claimed(ledger)
    expire_leases(ledger)
    holder = claimed(ledger)

    assert not ledger.renew(late, in_flight=3)
    ledger.release(late, last_error="late", hung=4)

    assert ledger.renew(holder)
    assert ledger.status(late.job_id).last_error is None
    expire_leases(ledger)
    third = claimed(ledger)
    assert third == Claim(late.job_id, 0, 3, third.token, "redis", {})
    assert third.token > holder.token


def test_a_released_chunk_is_next_and_the_attempt_does_not_count(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    first, second = claimed(ledger), claimed(ledger)
    ledger.release(second)
    ledger.release(first)
    assert not ledger.renew(first)
    assert ledger.missing_tickets() == 3
    again = [claimed(ledger) for _ in range(3)]
    assert [(claim.job_id, claim.chunk, claim.attempt) for claim in again] == [(job_id, chunk, 1) for chunk in range(3)]
    assert not ledger.renew(first)
    assert all(ledger.renew(claim) for claim in again)


def test_a_chunk_released_with_a_delay_waits_and_its_error_shows_until_a_chunk_is_done(ledger: Ledger) -> None:
    job_id = opened(ledger)
    ledger.release(claimed(ledger), delay_s=60, last_error="chunk 0: cannot read s3://b/k")
    assert ledger.status(job_id).last_error == "chunk 0: cannot read s3://b/k"
    assert ledger.claim() is None
    expire_leases(ledger)
    again = claimed(ledger)
    assert again.attempt == 1
    complete(ledger, again)
    assert ledger.status(job_id).last_error is None


def test_a_lease_from_before_the_clock_was_set_back_expires_in_time(ledger: Ledger) -> None:
    opened(ledger)
    claimed(ledger)
    (member,) = ledger.connection.redis.zrange(LEASES, 0, -1)
    ledger.connection.redis.zadd(LEASES, {member: ledger.connection.now() + 3600})
    assert ledger.claim() is None
    assert ledger.connection.redis.zscore(LEASES, member) <= ledger.connection.now() + LEASE_S


# Items that kill a worker or hang


def lost_with(ledger: Ledger, *items: int) -> Claim:
    """Claim the chunk, start these items, and do not come back."""
    claim = claimed(ledger)
    for item in items:
        assert ledger.renew(claim, in_flight=item)
    ledger.renew(claim)
    expire_leases(ledger)
    return claim


def test_an_item_in_flight_when_two_workers_in_a_row_died_is_quarantined(ledger: Ledger) -> None:
    opened(ledger)
    lost_with(ledger, 0, 1, 2)
    assert lost_with(ledger, 0, 1, 2).quarantined == {}
    assert lost_with(ledger, 0, 1, 3, 7).quarantined == {2: ErrorCode.WORKER_CRASHED}
    assert lost_with(ledger, 0, 1, 3).quarantined == {2: ErrorCode.WORKER_CRASHED}
    assert lost_with(ledger, 0, 1, 3).quarantined == {2: ErrorCode.WORKER_CRASHED}
    last = claimed(ledger)
    assert last.quarantined == {2: ErrorCode.WORKER_CRASHED, 3: ErrorCode.WORKER_CRASHED}
    ledger.complete(last.job_id, last.chunk, Counts.of([]))
    assert not ledger.connection.redis.exists(job_key(last.job_id, "in_flight"))


@pytest.mark.parametrize("claimed_by_another", [False, True])
def test_an_item_whose_worker_comes_back_is_not_suspect(ledger: Ledger, claimed_by_another: bool) -> None:  # noqa: FBT001
    opened(ledger)
    first = lost_with(ledger, 2)
    if claimed_by_another:
        second = lost_with(ledger, 2)
    ledger.survived(first)
    if claimed_by_another:
        assert lost_with(ledger, 2).quarantined == {}
        ledger.survived(second)
    assert claimed(ledger).quarantined == {}


def test_an_item_that_hung_is_quarantined_and_the_attempt_does_not_count(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.renew(claim, in_flight=5)
    ledger.release(claim, hung=5)
    again = claimed(ledger)
    assert (again.attempt, again.quarantined) == (1, {5: ErrorCode.TIME_LIMIT})


def test_releasing_a_chunk_quarantines_nothing(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.renew(claim, in_flight=5)
    ledger.release(claim)
    assert claimed(ledger).quarantined == {}


def test_items_are_quarantined_per_chunk(ledger: Ledger) -> None:
    opened(ledger, chunks=2)
    ledger.release(claimed(ledger), hung=5)
    assert [claimed(ledger).quarantined for _ in range(2)] == [{5: ErrorCode.TIME_LIMIT}, {}]
