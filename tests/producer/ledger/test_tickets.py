"""Tickets that are missing, and the lock of the reconcilers."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from random import Random

from fiqa.contract import Priority
from fiqa.errors import JobStateError
from fiqa.ledger.claims import Claim
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import MAX_TICKETS
from tests.keys import QUEUE, RECONCILER_LOCK, UNACKED, UNACKED_INDEX, UNCLAIMED
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    expire_leases,
    opened,
)
from tests.waiting import wait_until


def test_a_ticket_is_missing_for_each_unclaimed_chunk_without_one(ledger: Ledger) -> None:
    assert ledger.missing_tickets() == 0
    opened(ledger, chunks=5)
    opened(ledger, chunks=2, priority=Priority.LOW)
    assert ledger.missing_tickets() == 7
    claim = claimed(ledger)
    assert ledger.missing_tickets() == 6
    ledger.connection.redis.rpush(QUEUE, *["ticket"] * 4)
    assert ledger.missing_tickets() == 2
    ledger.connection.redis.rpush(QUEUE, *["ticket"] * 4)
    assert ledger.missing_tickets() == 0
    ledger.connection.redis.delete(QUEUE)
    complete(ledger, claim)
    assert ledger.missing_tickets() == 6


def test_tickets_are_missing_for_expired_leases(ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    for _ in range(3):
        claimed(ledger)
    assert ledger.missing_tickets() == 0
    expire_leases(ledger)
    assert ledger.missing_tickets() == 3


def test_at_most_max_tickets_wait_however_large_the_jobs(ledger: Ledger) -> None:
    opened(ledger, chunks=MAX_TICKETS - 1)
    assert ledger.missing_tickets() == MAX_TICKETS - 1
    opened(ledger, chunks=40_000, images=10_000_000)
    assert ledger.missing_tickets() == MAX_TICKETS
    ledger.connection.redis.rpush(QUEUE, *["ticket"] * 1500)
    assert ledger.missing_tickets() == MAX_TICKETS - 1500


def test_tickets_of_dead_workers_are_deleted_once_there_is_nothing_to_do(ledger: Ledger) -> None:
    opened(ledger)
    ledger.connection.redis.hset(UNACKED, "tag", "ticket")
    ledger.connection.redis.zadd(UNACKED_INDEX, {"tag": time.time()})
    assert ledger.missing_tickets() == 1
    claim = claimed(ledger)
    assert ledger.missing_tickets() == 0
    assert ledger.connection.redis.hlen(UNACKED) == 1
    complete(ledger, claim)
    assert ledger.missing_tickets() == 0
    assert ledger.connection.redis.exists(UNACKED, UNACKED_INDEX) == 0


def test_one_process_reconciles_at_a_time(ledger: Ledger, redis_url: str) -> None:
    with closing(Ledger(redis_url)) as other:
        assert ledger.try_reconciler_lock(seconds=60)
        assert not other.try_reconciler_lock(seconds=60)
        ledger.connection.redis.pexpire(RECONCILER_LOCK, 1)
        wait_until(lambda: other.try_reconciler_lock(seconds=60))
        assert not ledger.try_reconciler_lock(seconds=60)


def test_a_lock_from_before_the_clock_was_set_back_does_not_hold(ledger: Ledger) -> None:
    ledger.connection.redis.set(RECONCILER_LOCK, 1, px=3_600_000)
    assert ledger.try_reconciler_lock(seconds=5)
    assert not ledger.try_reconciler_lock(seconds=5)


def test_the_number_of_unclaimed_chunks_is_right_whatever_happens_to_jobs(ledger: Ledger) -> None:
    """Random acts on a few jobs; after each, the running count is what a new count finds."""
    random = Random(5)  # noqa: S311  not a secret
    jobs: list[str] = []
    claims: list[Claim] = []

    def act() -> None:
        kind = random.randrange(10)
        if kind == 0 or not jobs:
            jobs.append(opened(ledger, chunks=random.randint(1, 9)))
        elif kind < 4:
            if claim := ledger.claim():
                claims.append(claim)
        elif kind == 4 and claims:
            ledger.release(claims.pop(random.randrange(len(claims))), delay_s=random.choice((0, 60)))
        elif kind == 5 and claims:
            complete(ledger, claims.pop(random.randrange(len(claims))))
        elif kind == 6:
            expire_leases(ledger)
            ledger.missing_tickets()
        else:
            with suppress(JobStateError):
                control = random.choice((Control.PAUSE, Control.RESUME, Control.RESUME, Control.CANCEL))
                ledger.control(random.choice(jobs[-4:]), control)

    for _ in range(1500):
        act()
        kept = int(ledger.connection.redis.get(UNCLAIMED) or 0)
        assert (kept, ledger.missing_tickets()) == (ledger.missing_tickets(count_again=True),) * 2


def test_a_wrong_number_of_unclaimed_chunks_is_corrected(ledger: Ledger) -> None:
    opened(ledger, chunks=5)
    for wrong in (0, 3, 9):
        ledger.connection.redis.set(UNCLAIMED, wrong)
        assert ledger.missing_tickets(count_again=True) == 5
        assert ledger.missing_tickets() == 5
