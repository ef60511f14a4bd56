"""Chunks in the ledger: who is served, leases, what kills or hangs, counts, tickets, clocks, many at once."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from fiqa.contract import QUEUE, ErrorCode, Face, ImageError, ImageResult, JobState, Priority, Status
from fiqa.ledger.claims import Claim, Completion, Counts
from fiqa.ledger.keys import DUE, JOBS, LEASES, RECONCILER_LOCK, UNACKED, UNACKED_INDEX, job_key
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import LEASE_S, MAX_TICKETS
from tests.producer.ledger.ledger_jobs import claimed, complete, expire_leases, opened, scored, turns
from tests.waiting import wait_until

# Who is served


def test_chunks_are_handed_out_in_order_and_then_no_more(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    claims = [claimed(ledger) for _ in range(3)]
    first = claims[0].token
    assert claims == [Claim(job_id, chunk, 1, first + chunk, "redis", {}) for chunk in range(3)]
    assert ledger.claim() is None
    assert not any(claim.isolated for claim in claims)


def test_a_higher_priority_goes_first(ledger: Ledger) -> None:
    low, normal, high = (
        opened(ledger, chunks=3, priority=priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    )
    assert [claimed(ledger).job_id for _ in range(9)] == [high] * 3 + [normal] * 3 + [low] * 3


def test_a_higher_priority_goes_first_however_much_it_was_served(ledger: Ledger) -> None:
    high = opened(ledger, chunks=50, images=10_000_000, priority=Priority.HIGH)
    opened(ledger, chunks=50, priority=Priority.NORMAL)
    assert turns(ledger, 50) == {high: 50}


def test_jobs_of_one_priority_share(ledger: Ledger) -> None:
    jobs = [opened(ledger, chunks=30) for _ in range(3)]
    assert turns(ledger, 30) == dict.fromkeys(jobs, 10)


def test_jobs_share_by_images_and_not_by_chunks(ledger: Ledger) -> None:
    coarse, fine = opened(ledger, chunks=10, images=1000), opened(ledger, chunks=100, images=1000)
    assert turns(ledger, 44) == {coarse: 4, fine: 40}


def test_a_small_job_gets_its_turn_at_once_while_a_large_one_runs(ledger: Ledger) -> None:
    large = opened(ledger, chunks=40_000, images=10_000_000)
    assert turns(ledger, 20) == {large: 20}
    small = opened(ledger, chunks=7, images=100)
    assert turns(ledger, 7) == {small: 7}


def test_a_new_job_has_no_claim_to_what_others_got_before_it(ledger: Ledger) -> None:
    old = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {old: 50}
    new = opened(ledger, chunks=100)
    # The old one's last chunk is under way: that one is made good for.
    assert turns(ledger, 1) == {new: 1}
    assert turns(ledger, 20) == {old: 10, new: 10}


def test_new_jobs_that_wait_have_one_place_and_the_older_goes_first(ledger: Ledger) -> None:
    old = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {old: 50}
    waiting = sorted(opened(ledger, chunks=2) for _ in range(5))
    assert [claimed(ledger).job_id for _ in range(5)] == waiting


def test_a_job_that_gets_a_chunk_back_has_no_claim_to_what_it_missed(ledger: Ledger) -> None:
    first = opened(ledger, chunks=1)
    claim = claimed(ledger)
    second = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {second: 50}
    ledger.release(claim)
    assert turns(ledger, 3) == {first: 1, second: 2}


# Leases


def test_a_lease_that_ran_out_goes_to_another_and_the_attempt_is_counted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fiqa.ledger.ledger.LEASE_S", 0.05)
    job_id = opened(ledger)
    attempts = []
    for _ in range(4):
        attempts.append(claimed(ledger))
        time.sleep(0.06)
    first = attempts[0].token
    assert attempts == [Claim(job_id, 0, attempt, first + attempt - 1, "redis", {}) for attempt in (1, 2, 3, 4)]
    assert [claim.isolated for claim in attempts] == [False, False, True, True]


def test_a_lease_that_is_held_goes_to_nobody_else(ledger: Ledger) -> None:
    opened(ledger)
    claimed(ledger)
    assert ledger.claim() is None
    assert ledger.missing_tickets() == 0


def test_renewing_keeps_the_chunk_even_when_the_lease_just_ran_out(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    expire_leases(ledger)
    assert ledger.renew(claim)
    assert ledger.claim() is None


def test_a_worker_that_lost_its_lease_cannot_renew_note_or_give_back(ledger: Ledger) -> None:
    opened(ledger)
    late = claimed(ledger)
    expire_leases(ledger)
    holder = claimed(ledger)

    assert not ledger.renew(late, in_flight=3)
    ledger.release(late, last_error="late", hung=4)

    assert ledger.renew(holder)
    assert ledger.status(late.job_id).last_error is None
    expire_leases(ledger)
    assert claimed(ledger) == Claim(late.job_id, 0, 3, holder.token + 1, "redis", {})


def test_a_chunk_given_back_is_next_and_its_attempt_does_not_count(ledger: Ledger) -> None:
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


def test_a_chunk_given_back_with_a_delay_rests_and_its_reason_shows_until_a_chunk_is_done(ledger: Ledger) -> None:
    job_id = opened(ledger)
    ledger.release(claimed(ledger), delay_s=60, last_error="chunk 0: cannot read s3://b/k")
    assert ledger.status(job_id).last_error == "chunk 0: cannot read s3://b/k"
    assert ledger.claim() is None
    expire_leases(ledger)
    again = claimed(ledger)
    assert again.attempt == 1
    complete(ledger, again)
    assert ledger.status(job_id).last_error is None


# Items that kill or hang


def test_an_item_that_was_noted_when_a_worker_died_is_skipped(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    for item in (0, 1, 2):
        assert ledger.renew(claim, in_flight=item)
    expire_leases(ledger)

    second = claimed(ledger)
    assert second.quarantined == {2: ErrorCode.WORKER_CRASHED}

    ledger.renew(second, in_flight=7)
    ledger.renew(second)
    expire_leases(ledger)
    assert claimed(ledger).quarantined == {2: ErrorCode.WORKER_CRASHED, 7: ErrorCode.WORKER_CRASHED}


def test_an_item_that_hung_is_skipped_and_the_attempt_does_not_count(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.renew(claim, in_flight=5)
    ledger.release(claim, hung=5)
    again = claimed(ledger)
    assert (again.attempt, again.quarantined) == (1, {5: ErrorCode.TIME_LIMIT})


def test_a_chunk_given_back_unharmed_skips_nothing(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.renew(claim, in_flight=5)
    ledger.release(claim)
    assert claimed(ledger).quarantined == {}


def test_skips_are_a_chunks_own(ledger: Ledger) -> None:
    opened(ledger, chunks=2)
    ledger.release(claimed(ledger), hung=5)
    assert [claimed(ledger).quarantined for _ in range(2)] == [{5: ErrorCode.TIME_LIMIT}, {}]


# Counting


def test_counts_are_what_the_results_add_up_to() -> None:
    def result(status: Status, faces: int = 0, code: ErrorCode | None = None) -> ImageResult:
        face = Face(box=(0, 0, 1, 1), confidence=1, landmarks=((0, 0),) * 5, quality=0)
        error = ImageError(code=code, message="") if code else None
        return ImageResult(uri="u", status=status, faces=(face,) * faces, error=error, detector="d", quality_model="q")

    assert Counts.of(
        [
            result(Status.SCORED, faces=2),
            result(Status.SCORED, faces=1),
            result(Status.NO_FACE),
            result(Status.FAILED, code=ErrorCode.NOT_FOUND),
            result(Status.FAILED, code=ErrorCode.NOT_FOUND),
            result(Status.FAILED, code=ErrorCode.TOO_LARGE),
        ]
    ) == Counts(
        scored=2,
        no_face=1,
        faces=3,
        failed={ErrorCode.NOT_FOUND: 2, ErrorCode.TOO_LARGE: 1},
        models={"d/q": 6},
    )


def test_a_job_succeeds_with_its_last_chunk(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2, images=20)
    first, second = claimed(ledger), claimed(ledger)

    assert complete(ledger, second, Counts(8, 1, 12, {ErrorCode.NOT_FOUND: 1}, {"d/q": 10})) is Completion.COUNTED
    half = ledger.status(job_id)
    assert (half.state, half.chunks_done, half.images_done, half.finished) == (JobState.RUNNING, 1, 10, None)
    assert ledger.done_chunks(job_id) == [1]

    last = Counts(5, 2, 5, {ErrorCode.NOT_FOUND: 1, ErrorCode.TOO_LARGE: 2}, {"d/q": 9, "d/r": 1})
    assert complete(ledger, first, last) is Completion.JOB_IS_FINISHED
    status = ledger.status(job_id)
    assert (status.state, status.is_finished, status.chunks_done) == (JobState.SUCCEEDED, True, 2)
    assert (status.scored, status.no_face, status.faces, status.failed, status.images_done) == (13, 3, 17, 4, 20)
    assert status.failed_by_code == {"not_found": 2, "too_large": 2}
    assert status.models == {"d/q": 19, "d/r": 1}
    assert ledger.done_chunks(job_id) == [0, 1]


def test_a_chunk_counts_once_whoever_completes_it_and_however_often(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    late = claimed(ledger)
    expire_leases(ledger)
    holder = claimed(ledger)
    assert (holder.chunk, holder.attempt) == (0, 2)

    assert complete(ledger, late) is Completion.COUNTED
    for claim in (holder, late, holder):
        assert complete(ledger, claim) is Completion.COUNTED_BEFORE

    status = ledger.status(job_id)
    assert (status.scored, status.faces, status.chunks_done, status.state) == (10, 10, 1, JobState.RUNNING)
    assert not ledger.renew(holder)
    ledger.release(holder)
    assert claimed(ledger).chunk == 1
    assert ledger.claim() is None


def test_a_chunk_that_is_completed_while_it_waits_for_another_is_not_handed_out_again(ledger: Ledger) -> None:
    job_id = opened(ledger)
    late = claimed(ledger)
    expire_leases(ledger)
    assert ledger.missing_tickets() == 1
    assert complete(ledger, late) is Completion.JOB_IS_FINISHED
    assert ledger.missing_tickets() == 0
    assert ledger.claim() is None
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_completing_a_chunk_of_a_job_that_is_gone_counts_nothing(ledger: Ledger) -> None:
    job_id = opened(ledger)
    claim = claimed(ledger)
    ledger.connection.redis.delete(job_key(job_id), job_key(job_id, "attempts"), job_key(job_id, "holders"))
    ledger.connection.redis.zrem(JOBS, job_id)
    assert complete(ledger, claim) is Completion.JOB_IS_GONE
    assert not ledger.renew(claim)
    expire_leases(ledger)
    assert ledger.claim() is None
    assert ledger.connection.redis.keys() == []


@pytest.mark.parametrize("chunks", [1, 8, 9, 1000])
def test_done_chunks_come_in_order(ledger: Ledger, chunks: int) -> None:
    job_id = opened(ledger, chunks=chunks)
    assert ledger.done_chunks(job_id) == []
    done = random.Random(chunks).sample(range(chunks), k=(chunks + 1) // 2)  # noqa: S311  no secret
    for chunk in done:
        ledger.complete(job_id, chunk, scored())
    assert ledger.done_chunks(job_id) == sorted(done)


def test_a_finished_job_leaves_only_what_is_read_of_it(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    ledger.release(claimed(ledger), hung=1, last_error="x")
    ledger.renew(claimed(ledger), in_flight=2)
    expire_leases(ledger)
    while claim := ledger.claim():
        complete(ledger, claim)
    assert {key.decode() for key in ledger.connection.redis.scan_iter()} == {
        JOBS,
        job_key(job_id),
        job_key(job_id, "done"),
        job_key(job_id, "pace"),
    }
    assert 0 < ledger.connection.redis.ttl(job_key(job_id, "pace")) <= 120


# Tickets


def test_a_ticket_is_missing_for_each_unclaimed_chunk_that_has_none_waiting(ledger: Ledger) -> None:
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


def test_tickets_are_missing_for_leases_that_ran_out(ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    for _ in range(3):
        claimed(ledger)
    assert ledger.missing_tickets() == 0
    expire_leases(ledger)
    assert ledger.missing_tickets() == 3


def test_no_more_than_so_many_tickets_wait_however_large_the_jobs(ledger: Ledger) -> None:
    opened(ledger, chunks=MAX_TICKETS - 1)
    assert ledger.missing_tickets() == MAX_TICKETS - 1
    opened(ledger, chunks=40_000, images=10_000_000)
    assert ledger.missing_tickets() == MAX_TICKETS
    ledger.connection.redis.rpush(QUEUE, *["ticket"] * 1500)
    assert ledger.missing_tickets() == MAX_TICKETS - 1500


def test_a_job_tells_whether_any_worker_runs_and_how_long_it_takes_only_if_one_does(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2, images=20)
    assert not ledger.status(job_id).workers_run
    ledger.heartbeat(seconds=60)
    claim = claimed(ledger)
    ledger.complete(job_id, claim.chunk, Counts(10, 0, 10, {}, {}))
    running = ledger.status(job_id)
    assert running.workers_run
    assert running.eta_s is not None
    ledger.heartbeat(seconds=0.01)
    wait_until(lambda: not ledger.status(job_id).workers_run)
    abandoned = ledger.status(job_id)
    assert abandoned.images_per_s
    assert abandoned.eta_s is None


def test_one_at_a_time_reconciles(ledger: Ledger, redis_url: str) -> None:
    with closing(Ledger(redis_url)) as other:
        assert ledger.try_reconciler_lock(seconds=60)
        assert not other.try_reconciler_lock(seconds=60)
        ledger.connection.redis.pexpire(RECONCILER_LOCK, 1)
        wait_until(lambda: other.try_reconciler_lock(seconds=60))
        assert not ledger.try_reconciler_lock(seconds=60)


def test_tickets_that_dead_workers_held_are_forgotten_at_rest_and_not_before(ledger: Ledger) -> None:
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


# A clock that was set back by an hour: what was to last for seconds seems to last for an hour and seconds


def test_a_lease_of_before_the_clock_was_set_back_runs_out_all_the_same(ledger: Ledger) -> None:
    opened(ledger)
    claimed(ledger)
    (member,) = ledger.connection.redis.zrange(LEASES, 0, -1)
    ledger.connection.redis.zadd(LEASES, {member: ledger.connection.now() + 3600})
    assert ledger.claim() is None
    assert ledger.connection.redis.zscore(LEASES, member) <= ledger.connection.now() + LEASE_S


def test_a_lock_of_before_the_clock_was_set_back_keeps_nobody_from_reconciling(ledger: Ledger) -> None:
    ledger.connection.redis.set(RECONCILER_LOCK, 1, px=3_600_000)
    assert ledger.try_reconciler_lock(seconds=5)
    assert not ledger.try_reconciler_lock(seconds=5)


# Many at once


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
        dice = random.Random(seed)  # noqa: S311  no secret
        old: list[Claim] = []
        while not all(status.is_finished for status in ledger.jobs()):
            claim = ledger.claim()
            if claim is None:
                expire_leases(ledger)
                continue
            old.append(claim)
            fate = dice.choice(["complete", "complete", "die", "give back", "trouble", "late"])
            if fate == "complete" and ledger.renew(claim, in_flight=dice.randrange(10)):
                finishes.extend([claim.job_id] * (complete(ledger, claim) is Completion.JOB_IS_FINISHED))
            elif fate == "give back":
                ledger.release(claim, hung=dice.choice([None, 3]))
            elif fate == "trouble":
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
    assert parts == {"done", "pace"}
