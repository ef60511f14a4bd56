"""Mixed fleets: which worker may score which job; and what a newer version writes."""

from __future__ import annotations

from fiqa.contract import ErrorCode, JobState, Priority
from fiqa.ledger.claims import Claim, Claimant, Offer
from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.ledger.ledger_jobs import beat, claimed, complete, create, expire_leases, opened


def offered(ledger: Ledger, fingerprint: str) -> Offer:
    return ledger.claim_for(Claimant(fingerprint=fingerprint))


def claimed_by(ledger: Ledger, fingerprint: str) -> Claim:
    claim = offered(ledger, fingerprint).claim
    assert claim is not None
    return claim


def test_the_first_chunk_sets_the_fingerprint_of_its_worker(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    assert ledger.status(job_id).fingerprint is None
    assert claimed_by(ledger, "a").fingerprint == "a"
    assert ledger.status(job_id).fingerprint == "a"
    assert offered(ledger, "b") == Offer(None, 1, (job_id,))
    assert claimed_by(ledger, "a").chunk == 1


def test_a_worker_that_does_not_fit_gets_a_chunk_of_the_next_job(ledger: Ledger) -> None:
    first = opened(ledger, chunks=2, priority=Priority.HIGH)
    claimed_by(ledger, "a")
    second = opened(ledger)
    offer = offered(ledger, "b")
    assert offer.claim is not None
    assert (offer.claim.job_id, offer.unfit) == (second, (first,))


def test_a_worker_without_a_fingerprint_fits_and_sets_none(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    claimed(ledger)
    assert ledger.status(job_id).fingerprint is None
    claimed_by(ledger, "a")
    assert claimed(ledger).fingerprint == "a"


def test_a_job_for_any_worker_gets_no_fingerprint(ledger: Ledger) -> None:
    job_id, submission = create(ledger, any_worker=True)
    ledger.open(job_id, submission, chunks=3, images=30)
    assert [claimed_by(ledger, name).fingerprint for name in ("a", "b", "c")] == ["*", "*", "*"]
    assert ledger.status(job_id).fingerprint == "*"


def test_a_job_without_a_result_takes_the_fingerprint_of_the_next_worker(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    ledger.release(claimed_by(ledger, "a"))
    claim = claimed_by(ledger, "b")
    assert ledger.status(job_id).fingerprint == "b"
    expire_leases(ledger)
    complete(ledger, claimed_by(ledger, "a"))
    assert offered(ledger, "b").unfit == (job_id,)
    assert not ledger.renew(claim)


def test_a_job_with_a_result_keeps_its_fingerprint(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    complete(ledger, claimed_by(ledger, "a"))
    assert offered(ledger, "b").unfit == (job_id,)


def test_the_status_counts_the_workers_if_none_fits(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    complete(ledger, claimed_by(ledger, "a"))
    assert ledger.status(job_id).workers_unfit == 0  # no worker runs
    beat(ledger, "one:1:0", fingerprint="b")
    beat(ledger, "two:1:0", fingerprint="c")
    status = ledger.status(job_id)
    assert (status.workers_run, status.workers_unfit, status.eta_s) == (True, 2, None)
    beat(ledger, "three:1:0", fingerprint="a")
    assert ledger.status(job_id).workers_unfit == 0


# What a newer version writes


def test_an_unknown_code_of_a_quarantined_item_is_kept(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.connection.redis.hset(job_key(claim.job_id, "quarantined"), claim.chunk, " 3:melted 4:time_limit")
    expire_leases(ledger)
    assert claimed(ledger).quarantined == {3: "melted", 4: ErrorCode.TIME_LIMIT}


def test_an_unknown_priority_and_an_unknown_state_are_shown_as_they_are(ledger: Ledger) -> None:
    job_id = opened(ledger)
    ledger.connection.redis.hset(job_key(job_id), mapping={"priority": "urgent", "state": "archived"})
    (status,) = ledger.jobs()
    assert (status.priority, status.state, status.is_finished) == ("urgent", "archived", False)
    assert (str(status.priority), f"{status.state}") == ("urgent", "archived")
    assert status.state not in set(JobState)


def test_a_job_of_an_unknown_priority_is_served_as_a_normal_one(ledger: Ledger) -> None:
    job_id, submission = create(ledger, priority=Priority("urgent"))
    ledger.open(job_id, submission, chunks=1, images=1)
    assert claimed(ledger).job_id == job_id
