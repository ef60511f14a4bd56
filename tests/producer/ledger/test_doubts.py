"""Failures that may be a machine's fault: when they are results, and which chunks a machine in doubt gets."""

from __future__ import annotations

import pytest

from fiqa.contract import Priority
from fiqa.ledger.claims import Claim, Claimant
from fiqa.ledger.doubts import LONGEST_BACKOFF_S, MACHINES_NEEDED, Action, Decision
from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.ledger.ledger_jobs import claimed, complete, expire_leases, opened


def claimed_by(ledger: Ledger, machine: str) -> Claim:
    claim = ledger.claim_for(Claimant(machine=machine)).claim
    assert claim is not None
    return claim


def suspect(ledger: Ledger, claim: Claim, machine: str, machines: int) -> Decision:
    needed = min(machines, MACHINES_NEEDED)
    return ledger.doubts.suspect(claim, machine=machine, needed=needed, last_error=f"{machine} cannot read it")


def a_while_ago(ledger: Ledger, claim: Claim, seconds: float) -> None:
    """Move the tries of a chunk into the past."""
    key = job_key(claim.job_id, "doubts")
    tries, first, last, machines = ledger.connection.redis.hget(key, claim.chunk).decode().split(" ", 3)
    moved = f"{tries} {float(first) - seconds:.3f} {float(last) - seconds:.3f} {machines}"
    ledger.connection.redis.hset(key, claim.chunk, moved)


@pytest.mark.parametrize(("machines", "needed"), [(2, 2), (3, 3), (100, 3)])
def test_as_many_machines_must_see_a_failure_as_there_are_and_three_at_most(
    ledger: Ledger, machines: int, needed: int
) -> None:
    opened(ledger)
    for number in range(1, needed):
        claim = claimed_by(ledger, f"m{number}")
        assert claim.attempt == 1
        assert suspect(ledger, claim, f"m{number}", machines).action is Action.RELEASED
        assert ledger.status(claim.job_id).last_error == f"m{number} cannot read it"
    last = claimed_by(ledger, "last")
    assert suspect(ledger, last, "last", machines) == Decision(Action.RESULTS, 0)
    assert ledger.renew(last)


def test_the_same_machine_counts_once_and_backs_off_longer_each_time(ledger: Ledger) -> None:
    opened(ledger)
    backoffs = [suspect(ledger, claimed_by(ledger, "one"), "one", 2).backoff_s for _ in range(8)]
    assert backoffs == [2, 4, 8, 16, 32, LONGEST_BACKOFF_S, LONGEST_BACKOFF_S, LONGEST_BACKOFF_S]


def test_a_machine_whose_doubts_are_confirmed_need_not_back_off(ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    first = claimed_by(ledger, "one")
    assert suspect(ledger, first, "one", 2).backoff_s == 2
    assert suspect(ledger, claimed_by(ledger, "two"), "two", 2).action is Action.RESULTS
    assert suspect(ledger, claimed_by(ledger, "one"), "one", 2).backoff_s == 0


def test_failures_of_a_machine_alone_are_results_after_its_third_try_and_then_at_once(ledger: Ledger) -> None:
    opened(ledger, chunks=2)
    for backoff_s in (2, 4):
        claim = claimed(ledger)
        assert suspect(ledger, claim, "one", 1) == Decision(Action.RELEASED, backoff_s)
        assert suspect(ledger, claimed(ledger), "one", 1).backoff_s == backoff_s  # of another process, at the same time
        a_while_ago(ledger, claim, 2)
    third = claimed(ledger)
    assert suspect(ledger, third, "one", 1) == Decision(Action.RESULTS, 0)
    complete(ledger, third)
    assert suspect(ledger, claimed(ledger), "one", 1).action is Action.RESULTS


def test_a_machine_that_counts_but_never_claims_delays_no_job_for_ever(ledger: Ledger) -> None:
    opened(ledger)
    for _ in range(2):
        claim = claimed_by(ledger, "one")
        assert suspect(ledger, claim, "one", 2).action is Action.RELEASED
        a_while_ago(ledger, claim, 600)
    assert suspect(ledger, claimed_by(ledger, "one"), "one", 2).action is Action.RESULTS


def test_without_the_lease_nothing_changes(ledger: Ledger) -> None:
    opened(ledger)
    late = claimed(ledger)
    expire_leases(ledger)
    holder = claimed(ledger)
    assert suspect(ledger, late, "one", 2) == Decision(Action.LOST, 0)
    assert ledger.renew(holder)
    assert not ledger.connection.redis.exists(job_key(late.job_id, "doubts"))


def test_a_chunk_goes_to_a_machine_that_did_not_doubt_it(ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    suspect(ledger, claimed_by(ledger, "one"), "one", 3)
    assert claimed_by(ledger, "one").chunk == 1
    assert claimed_by(ledger, "two").chunk == 0


def test_a_name_that_is_a_part_of_another_is_another_machine(ledger: Ledger) -> None:
    opened(ledger, chunks=2)
    suspect(ledger, claimed_by(ledger, "node-11"), "node-11", 3)
    assert claimed_by(ledger, "node-1").chunk == 0


def test_a_machine_gets_the_chunk_that_it_doubted_if_there_is_no_other(ledger: Ledger) -> None:
    opened(ledger, chunks=2)
    suspect(ledger, claimed_by(ledger, "one"), "one", 3)
    claimed_by(ledger, "one")
    assert claimed_by(ledger, "one").chunk == 0


def test_jobs_to_back_off_from_are_skipped(ledger: Ledger) -> None:
    first, second = opened(ledger, priority=Priority.HIGH), opened(ledger)
    offer = ledger.claim_for(Claimant(avoided=[first]))
    assert offer.claim is not None
    assert (offer.claim.job_id, offer.passed_over, offer.unfit) == (second, 1, ())
    offer = ledger.claim_for(Claimant(avoided=[first]))
    assert (offer.claim, offer.passed_over) == (None, 1)
    assert claimed(ledger).job_id == first
    assert ledger.claim_for(Claimant(avoided=[first])).passed_over == 0


def test_a_chunk_that_is_counted_leaves_no_doubt_of_it(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    suspect(ledger, claimed_by(ledger, "one"), "one", 2)
    complete(ledger, claimed_by(ledger, "two"))
    assert list(ledger.connection.redis.hgetall(job_key(job_id, "doubts"))) == [b"doubt:one"]
    complete(ledger, claimed_by(ledger, "two"))
    assert not ledger.connection.redis.exists(job_key(job_id, "doubts"))
