"""Which job gets the next chunk."""

from __future__ import annotations

from fiqa.contract import Priority
from fiqa.ledger.claims import Claim
from fiqa.ledger.ledger import Ledger
from tests.keys import DUE, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    opened,
    turns,
)


def test_each_chunk_is_handed_out_once_in_order(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    claims = [claimed(ledger) for _ in range(3)]
    assert claims == [Claim(job_id, chunk, 1, claims[chunk].token, "redis", {}) for chunk in range(3)]
    assert ledger.claim() is None
    assert not any(claim.isolated for claim in claims)


def test_a_higher_priority_is_served_first(ledger: Ledger) -> None:
    low, normal, high = (
        opened(ledger, chunks=3, priority=priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    )
    assert [claimed(ledger).job_id for _ in range(9)] == [high] * 3 + [normal] * 3 + [low] * 3


def test_a_higher_priority_is_served_first_however_much_it_got_before(ledger: Ledger) -> None:
    high = opened(ledger, chunks=50, images=10_000_000, priority=Priority.HIGH)
    opened(ledger, chunks=50, priority=Priority.NORMAL)
    assert turns(ledger, 50) == {high: 50}


def test_jobs_of_one_priority_get_the_same_share(ledger: Ledger) -> None:
    jobs = [opened(ledger, chunks=30) for _ in range(3)]
    assert turns(ledger, 30) == dict.fromkeys(jobs, 10)


def test_jobs_share_by_images_and_not_by_chunks(ledger: Ledger) -> None:
    coarse, fine = opened(ledger, chunks=10, images=1000), opened(ledger, chunks=100, images=1000)
    assert turns(ledger, 44) == {coarse: 4, fine: 40}


def test_a_small_job_is_served_at_once_while_a_large_one_runs(ledger: Ledger) -> None:
    large = opened(ledger, chunks=40_000, images=10_000_000)
    assert turns(ledger, 20) == {large: 20}
    small = opened(ledger, chunks=7, images=100)
    assert turns(ledger, 7) == {small: 7}


def test_a_new_job_does_not_catch_up_with_what_others_got_before(ledger: Ledger) -> None:
    old = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {old: 50}
    new = opened(ledger, chunks=100)
    # The last chunk of the old job is in flight. It does not count, so the new job gets one chunk first.
    assert turns(ledger, 1) == {new: 1}
    assert turns(ledger, 20) == {old: 10, new: 10}


def test_new_jobs_that_wait_start_equal_and_the_oldest_is_served_first(ledger: Ledger) -> None:
    old = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {old: 50}
    waiting = sorted(opened(ledger, chunks=2) for _ in range(5))
    assert [claimed(ledger).job_id for _ in range(5)] == waiting


def test_a_job_with_a_requeued_chunk_does_not_catch_up_with_what_it_missed(ledger: Ledger) -> None:
    first = opened(ledger, chunks=1)
    claim = claimed(ledger)
    second = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {second: 50}
    ledger.release(claim)
    assert turns(ledger, 3) == {first: 1, second: 2}


def test_a_requeued_chunk_does_not_wait_until_younger_jobs_have_caught_up(ledger: Ledger) -> None:
    old = opened(ledger, chunks=50)
    held = [claimed(ledger) for _ in range(50)]
    young = opened(ledger, chunks=50)
    assert turns(ledger, 3) == {young: 3}
    ledger.release(held[7])
    assert turns(ledger, 2)[old] == 1


def test_a_due_job_that_lost_its_hash_does_not_stop_the_others(ledger: Ledger) -> None:
    lost, other = opened(ledger, chunks=3, priority=Priority.HIGH), opened(ledger)
    ledger.connection.redis.delete(job_key(lost))
    assert claimed(ledger).job_id == other
    assert ledger.connection.redis.zcard(DUE) == 0
