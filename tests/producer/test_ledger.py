from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff

from fiqa_producer.contract import QUEUE, ErrorCode, Face, ImageError, ImageResult, JobSpec, JobState, Priority, Status
from fiqa_producer.errors import JobStateError, RedisUnavailableError, SettingsError, UnknownJobError
from fiqa_producer.ledger import Claim, Control, Counts, Ledger, new_job_id
from fiqa_producer.scripts import (
    DUE,
    ENDED,
    JOBS,
    LEASE_S,
    LEASES,
    MAX_TICKETS,
    RECONCILER_LOCK,
    UNACKED,
    UNACKED_INDEX,
    Completion,
    job_key,
)


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    with closing(Ledger(redis_url)) as ledger:
        yield ledger


def create(
    ledger: Ledger,
    *,
    name: str | None = None,
    priority: Priority = Priority.NORMAL,
    home: str = "redis",
    **options: Any,
) -> str:
    job_id = new_job_id()
    spec = JobSpec(id=job_id, name=name, priority=priority, created=ledger.now(), **options)
    ledger.create(spec, home=home)
    return job_id


def opened(ledger: Ledger, chunks: int = 1, images: int | None = None, priority: Priority = Priority.NORMAL) -> str:
    """A running job; of ten images a chunk."""
    job_id = create(ledger, priority=priority)
    ledger.open(job_id, chunks=chunks, images=10 * chunks if images is None else images)
    return job_id


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


def scored(images: int = 10) -> Counts:
    return Counts(scored=images, no_face=0, faces=images, failed={}, models={"d/q": images})


def complete(ledger: Ledger, claim: Claim, counts: Counts | None = None) -> Completion:
    return ledger.complete(claim.job_id, claim.chunk, counts or scored())


def expire_leases(ledger: Ledger) -> None:
    """As if the time of every lease had passed."""
    for member in ledger.redis.zrange(LEASES, 0, -1):
        ledger.redis.zadd(LEASES, {member: 1})


def turns(ledger: Ledger, number: int) -> Counter[str]:
    """Which jobs the next so many claims serve."""
    return Counter(claimed(ledger).job_id for _ in range(number))


# The producer's side


def test_job_ids_are_all_different_and_sort_by_time() -> None:
    ids = [new_job_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [job_id[:15] for job_id in ids] == sorted(job_id[:15] for job_id in ids)


def test_a_job_is_preparing_until_it_is_opened_and_nobody_works_on_it_before(ledger: Ledger) -> None:
    job_id = create(ledger, name="backfill", priority=Priority.LOW)
    before = ledger.status(job_id)
    assert (before.state, before.images, before.chunks, before.started) == (JobState.PREPARING, 0, 0, None)
    assert (before.name, before.priority, before.home) == ("backfill", Priority.LOW, "redis")
    assert ledger.claim() is None
    assert ledger.missing_tickets() == 0

    ledger.open(job_id, chunks=2, images=20)

    after = ledger.status(job_id)
    assert (after.state, after.images, after.chunks) == (JobState.RUNNING, 20, 2)
    assert not after.is_finished


def test_a_job_is_opened_once(ledger: Ledger) -> None:
    job_id = opened(ledger)
    with pytest.raises(JobStateError, match=rf"^job {job_id} is running: only one that is `preparing` can be opened$"):
        ledger.open(job_id, chunks=5, images=50)
    assert ledger.status(job_id).chunks == 1


def test_jobs_come_newest_first(ledger: Ledger) -> None:
    assert ledger.jobs() == []
    ids = []
    for _ in range(3):
        ids.append(create(ledger))
        time.sleep(0.002)
    assert [job.id for job in ledger.jobs()] == ids[::-1]
    assert [job.id for job in ledger.jobs(limit=2)] == ids[:0:-1]
    assert ledger.jobs(limit=1) == [ledger.status(ids[-1])]


@pytest.mark.parametrize(
    "act", [lambda ledger, job: ledger.status(job), lambda ledger, job: ledger.open(job, chunks=1, images=1)]
)
def test_an_unknown_job_is_one_line_that_says_where_to_look(ledger: Ledger, act: Callable[[Ledger, str], None]) -> None:
    job_id = new_job_id()
    with pytest.raises(UnknownJobError, match=rf"^no job {job_id}: `fiqa jobs` lists those there are$"):
        act(ledger, job_id)
    assert ledger.redis.keys() == []


@pytest.mark.parametrize("job_id", ["", "backfill", "20250101-000000-ABCDEF", "20250101-000000-abcdef\n", "../x", "*"])
def test_what_is_no_job_id_is_not_looked_up(ledger: Ledger, job_id: str) -> None:
    with pytest.raises(UnknownJobError, match=r"is not a job id: `fiqa jobs` lists them$"):
        ledger.status(job_id)


# Who is served


def test_chunks_are_handed_out_in_order_and_then_no_more(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    claims = [claimed(ledger) for _ in range(3)]
    first = claims[0].token
    assert claims == [Claim(job_id, chunk, 1, first + chunk, "redis", {}) for chunk in range(3)]
    assert ledger.claim() is None
    assert not any(claim.careful for claim in claims)


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
    assert turns(ledger, 9)[small] == 7


def test_a_new_job_has_no_claim_to_what_others_got_before_it(ledger: Ledger) -> None:
    old = opened(ledger, chunks=100)
    assert turns(ledger, 50) == {old: 50}
    new = opened(ledger, chunks=100)
    assert turns(ledger, 20) == {old: 10, new: 10}


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
    monkeypatch.setattr("fiqa_producer.ledger.LEASE_S", 0.05)
    job_id = opened(ledger)
    attempts = []
    for _ in range(4):
        attempts.append(claimed(ledger))
        time.sleep(0.06)
    first = attempts[0].token
    assert attempts == [Claim(job_id, 0, attempt, first + attempt - 1, "redis", {}) for attempt in (1, 2, 3, 4)]
    assert [claim.careful for claim in attempts] == [False, False, True, True]


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

    assert not ledger.renew(late, note=3)
    ledger.release(late, trouble="late", hung=4)

    assert ledger.renew(holder)
    assert ledger.status(late.job_id).reason is None
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
    ledger.release(claimed(ledger), delay_s=60, trouble="chunk 0: cannot read s3://b/k")
    assert ledger.status(job_id).reason == "chunk 0: cannot read s3://b/k"
    assert ledger.claim() is None
    expire_leases(ledger)
    again = claimed(ledger)
    assert again.attempt == 1
    complete(ledger, again)
    assert ledger.status(job_id).reason is None


# Items that kill or hang


def test_an_item_that_was_noted_when_a_worker_died_is_skipped(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    for item in (0, 1, 2):
        assert ledger.renew(claim, note=item)
    expire_leases(ledger)

    second = claimed(ledger)
    assert second.skips == {2: ErrorCode.WORKER_CRASHED}

    ledger.renew(second, note=7)
    ledger.renew(second)
    expire_leases(ledger)
    assert claimed(ledger).skips == {2: ErrorCode.WORKER_CRASHED, 7: ErrorCode.WORKER_CRASHED}


def test_an_item_that_hung_is_skipped_and_the_attempt_does_not_count(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.renew(claim, note=5)
    ledger.release(claim, hung=5)
    again = claimed(ledger)
    assert (again.attempt, again.skips) == (1, {5: ErrorCode.TIME_LIMIT})


def test_a_chunk_given_back_unharmed_skips_nothing(ledger: Ledger) -> None:
    opened(ledger)
    claim = claimed(ledger)
    ledger.renew(claim, note=5)
    ledger.release(claim)
    assert claimed(ledger).skips == {}


def test_skips_are_a_chunks_own(ledger: Ledger) -> None:
    opened(ledger, chunks=2)
    ledger.release(claimed(ledger), hung=5)
    assert [claimed(ledger).skips for _ in range(2)] == [{5: ErrorCode.TIME_LIMIT}, {}]


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
    ledger.redis.delete(job_key(job_id), job_key(job_id, "attempts"), job_key(job_id, "holders"))
    ledger.redis.zrem(JOBS, job_id)
    assert complete(ledger, claim) is Completion.JOB_IS_GONE
    assert not ledger.renew(claim)
    expire_leases(ledger)
    assert ledger.claim() is None
    assert ledger.redis.keys() == []


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
    ledger.release(claimed(ledger), hung=1, trouble="x")
    ledger.renew(claimed(ledger), note=2)
    expire_leases(ledger)
    while claim := ledger.claim():
        complete(ledger, claim)
    assert {key.decode() for key in ledger.redis.scan_iter()} == {
        JOBS,
        job_key(job_id),
        job_key(job_id, "done"),
        job_key(job_id, "pace"),
    }
    assert 0 < ledger.redis.ttl(job_key(job_id, "pace")) <= 120


# Controls


def held_by_three(ledger: Ledger) -> tuple[str, list[Claim]]:
    """A job of ten chunks, and the claims of the first three."""
    job_id = opened(ledger, chunks=10)
    return job_id, [claimed(ledger) for _ in range(3)]


def test_no_chunk_of_a_paused_job_starts_and_those_under_way_are_finished(ledger: Ledger) -> None:
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


def test_a_paused_job_whose_last_chunks_were_under_way_succeeds(ledger: Ledger) -> None:
    job_id = opened(ledger)
    claim = claimed(ledger)
    ledger.control(job_id, Control.PAUSE)
    assert complete(ledger, claim) is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_a_cancelled_job_is_taken_from_its_workers_and_keeps_its_results(ledger: Ledger) -> None:
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
    assert ledger.redis.zcard(LEASES) == ledger.redis.zcard(DUE) == ledger.missing_tickets() == 0
    assert complete(ledger, held[1]) is Completion.COUNTED  # its shard was stored a moment before
    assert ledger.done_chunks(job_id) == [0, 1]
    assert ledger.status(job_id).state is JobState.CANCELLED


def test_a_cancelled_job_takes_no_chunk_from_another(ledger: Ledger) -> None:
    job_id, _ = held_by_three(ledger)
    other = opened(ledger, priority=Priority.HIGH)
    assert claimed(ledger).job_id == other
    ledger.control(job_id, Control.CANCEL)
    assert [lease.decode() for lease in ledger.redis.zrange(LEASES, 0, -1)] == [f"{other}:0"]


@pytest.mark.parametrize("control", [Control.PAUSE, Control.RESUME, Control.CANCEL])
def test_a_control_given_twice_does_nothing_the_second_time(ledger: Ledger, control: Control) -> None:
    job_id, _ = held_by_three(ledger)
    ledger.control(job_id, control)
    once = (ledger.redis.hgetall(job_key(job_id)), ledger.redis.zrange(DUE, 0, -1, withscores=True))
    ledger.control(job_id, control)
    assert (ledger.redis.hgetall(job_key(job_id)), ledger.redis.zrange(DUE, 0, -1, withscores=True)) == once


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
def test_a_control_that_does_not_fit_the_state_is_one_line_and_changes_nothing(
    ledger: Ledger, state: JobState, refused: set[Control]
) -> None:
    job_id = opened(ledger)
    ledger.redis.hset(job_key(job_id), "state", state)
    before = ledger.redis.hgetall(job_key(job_id))
    for control in refused:
        with pytest.raises(JobStateError, match=rf"^job {job_id} is {state}: cannot {control} it[^\n]*$"):
            ledger.control(job_id, control)
    assert ledger.redis.hgetall(job_key(job_id)) == before
    for control in set(Control) - refused:
        ledger.redis.hset(job_key(job_id), "state", state)
        ledger.control(job_id, control)


def test_a_forgotten_job_leaves_nothing(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.redis.hset(job_key(job_id, "manifest"), 0, b"x")
    ledger.control(job_id, Control.CANCEL)
    ledger.control(job_id, Control.DELETE)
    assert ledger.redis.keys() == []
    ledger.store_once(job_id, "results", 1, b"late")
    assert ledger.redis.keys() == []


def test_two_who_control_one_job_at_once_leave_it_whole(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=200)

    def control(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311  no secret
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


def test_a_chunk_that_comes_back_does_not_wait_until_younger_jobs_have_caught_up(ledger: Ledger) -> None:
    old = opened(ledger, chunks=50)
    held = [claimed(ledger) for _ in range(50)]
    young = opened(ledger, chunks=50)
    assert turns(ledger, 3) == {young: 3}
    ledger.release(held[7])
    assert turns(ledger, 2)[old] == 1


def test_a_chunk_that_is_counted_after_its_job_was_stopped_leaves_the_reason_and_is_in_the_summary(
    ledger: Ledger,
) -> None:
    job_id = create(ledger, home="/home", max_failed=0.5)
    ledger.open(job_id, chunks=3, images=3000)
    first, second = claimed(ledger), claimed(ledger)
    broken = Counts(0, 0, 0, {ErrorCode.NOT_FOUND: 1000}, {})
    complete(ledger, first, broken)
    ledger.summarised(job_id)
    complete(ledger, second, broken)
    status = ledger.status(job_id)
    assert (status.state, status.reason) == (JobState.FAILED, "1000 of the first 1000 images failed")
    assert ledger.ended() == [job_id]


# The failure threshold


@pytest.mark.parametrize(
    ("images", "failed", "max_failed", "state"),
    [
        (1000, 501, 0.5, JobState.FAILED),
        (1000, 500, 0.5, JobState.RUNNING),
        (999, 999, 0.5, JobState.RUNNING),  # too few to tell
        (1000, 1000, 1.0, JobState.RUNNING),
        (1000, 1, 0.0, JobState.FAILED),
        (1000, 0, 0.0, JobState.RUNNING),
    ],
)
def test_a_job_is_stopped_when_too_many_of_its_images_failed(
    ledger: Ledger, images: int, failed: int, max_failed: float, state: JobState
) -> None:
    job_id = create(ledger, max_failed=max_failed)
    ledger.open(job_id, chunks=3, images=3000)
    other = opened(ledger)
    held = [claimed(ledger), claimed(ledger)]
    first = next(claim for claim in held if claim.job_id == job_id)
    counts = Counts(images - failed, 0, images - failed, {ErrorCode.NOT_FOUND: failed} if failed else {}, {})
    answer = complete(ledger, first, counts)
    status = ledger.status(job_id)
    assert status.state is state
    if state is JobState.FAILED:
        assert answer is Completion.JOB_IS_FINISHED
        assert status.reason == f"{failed} of the first {images} images failed"
        assert ledger.claim() is None
        assert ledger.status(other).state is JobState.RUNNING


# What is over


def test_a_finished_job_whose_results_are_in_redis_goes_by_itself_with_all_its_keys(ledger: Ledger) -> None:
    job_id = create(ledger, keep_s=1)
    ledger.redis.hset(job_key(job_id, "manifest"), mapping={"0": b"m", "1": b"m"})
    ledger.open(job_id, chunks=2, images=20)
    for claim in (claimed(ledger), claimed(ledger)):
        ledger.store_once(job_id, "results", claim.chunk, b"r")
        complete(ledger, claim)
    ledger.redis.delete(job_key(job_id, "pace"))  # it goes after two minutes
    assert ledger.status(job_id).state is JobState.SUCCEEDED
    deadline = time.monotonic() + 20
    while ledger.redis.keys("fiqa:job:*") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ledger.jobs() == []
    assert ledger.redis.keys() == []


def test_results_that_come_after_a_job_was_cancelled_go_with_it(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    ledger.control(job_id, Control.CANCEL)
    ledger.store_once(job_id, "results", held[0].chunk, b"r")
    complete(ledger, held[0])
    for part in ("", "done", "results"):
        assert ledger.redis.ttl(job_key(job_id, part)) > 0


def test_a_finished_job_with_a_home_of_its_own_stays_until_it_is_deleted_and_wants_a_summary(ledger: Ledger) -> None:
    job_id = create(ledger, home="s3://b/p")
    ledger.open(job_id, chunks=1, images=10)
    assert ledger.ended() == []
    complete(ledger, claimed(ledger))
    assert ledger.ended() == [job_id]
    assert ledger.redis.ttl(job_key(job_id)) == -1
    ledger.summarised(job_id)
    assert not ledger.redis.exists(ENDED)


def test_a_recovered_job_hands_out_what_is_not_done(ledger: Ledger) -> None:
    done = {*range(5000), 5002, 7000}
    job_id = create(ledger)
    for chunk in done:
        ledger.complete(job_id, chunk, scored())
    ledger.open(job_id, chunks=7003, images=70_030)
    held = [claimed(ledger).chunk for _ in range(2001)]
    assert held == [chunk for chunk in range(7003) if chunk not in done]
    assert ledger.claim() is None
    status = ledger.status(job_id)
    assert (status.state, status.chunks_done, status.scored) == (JobState.RUNNING, 5002, 50_020)


def test_a_job_whose_hash_alone_was_lost_is_recovered_from_its_beginning(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.release(held[1])
    ledger.redis.delete(job_key(job_id), DUE, LEASES)
    ledger.create(JobSpec(id=job_id, created=0), home="redis")
    ledger.open(job_id, chunks=3, images=30)
    assert [claimed(ledger).chunk for _ in range(3)] == [0, 1, 2]
    assert ledger.done_chunks(job_id) == []


def test_a_recovered_job_of_which_all_is_done_has_succeeded(ledger: Ledger) -> None:
    job_id = create(ledger)
    for chunk in range(3):
        ledger.complete(job_id, chunk, scored())
    ledger.open(job_id, chunks=3, images=30)
    assert ledger.status(job_id).state is JobState.SUCCEEDED
    assert ledger.claim() is None


def test_who_held_a_chunk_before_redis_was_lost_can_do_nothing_with_it_after_the_recovery(ledger: Ledger) -> None:
    spec = JobSpec(id=new_job_id(), created=ledger.now())
    claims = []
    for _ in range(2):
        ledger.redis.flushall()
        ledger.create(spec, home="s3://photos/fiqa")
        ledger.open(spec.id, chunks=1, images=10)
        claims.append(claimed(ledger))
    late, holder = claims
    assert not ledger.renew(late)
    assert ledger.renew(holder)


# Pace


def set_times(ledger: Ledger, job_id: str, **ago: float) -> None:
    now, _ = ledger.redis.time()
    for name, seconds in ago.items():
        ledger.redis.hset(job_key(job_id), name, f"{now - seconds:.3f}")


def test_a_job_that_has_not_started_has_no_pace(ledger: Ledger) -> None:
    status = ledger.status(opened(ledger))
    assert (status.started, status.images_per_s, status.eta_s) == (None, None, None)


def test_the_pace_of_a_running_job_is_that_of_the_last_minute(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=100, images=10_000)
    complete(ledger, claimed(ledger), scored(600))
    set_times(ledger, job_id, started=3600)
    ledger.sign_of_life(seconds=60)
    status = ledger.status(job_id)
    assert status.images_per_s is not None
    assert status.eta_s is not None
    # A minute, and up to one bucket of 5 s; doubled for a machine that stands still.
    assert 600 / 70 / 2 < status.images_per_s <= 600 / 60
    assert status.images_per_s * status.eta_s == pytest.approx(9_400)


def test_what_was_done_before_the_last_minute_has_no_part_in_the_pace(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=100, images=10_000)
    complete(ledger, claimed(ledger), scored(600))
    (bucket,) = ledger.redis.hkeys(job_key(job_id, "pace"))
    ledger.redis.hset(job_key(job_id, "pace"), int(bucket) - 100, 5_000)
    set_times(ledger, job_id, started=3600)
    pace = ledger.status(job_id).images_per_s
    assert pace is not None
    assert pace <= 600 / 60
    complete(ledger, claimed(ledger))
    assert str(int(bucket) - 100).encode() not in ledger.redis.hkeys(job_key(job_id, "pace"))


def test_a_job_that_stands_still_has_no_eta(ledger: Ledger) -> None:
    job_id = opened(ledger)
    claimed(ledger)
    set_times(ledger, job_id, started=3600)
    status = ledger.status(job_id)
    assert (status.images_per_s, status.eta_s) == (0, None)


def test_the_pace_of_a_finished_job_is_that_of_its_whole_run(ledger: Ledger) -> None:
    job_id = opened(ledger)
    complete(ledger, claimed(ledger), scored(600))
    set_times(ledger, job_id, started=300, finished=100)
    status = ledger.status(job_id)
    assert status.images_per_s == pytest.approx(3)
    assert status.eta_s is None


def test_times_are_in_order_and_of_the_servers_clock(ledger: Ledger) -> None:
    seconds, micros = ledger.redis.time()
    job_id = opened(ledger)
    complete(ledger, claimed(ledger))
    status = ledger.status(job_id)
    assert status.started is not None
    assert status.finished is not None
    assert seconds + micros / 1e6 - 0.001 <= status.created <= status.started + 0.001 <= status.finished + 0.002


# Tickets


def test_a_ticket_is_missing_for_each_unclaimed_chunk_that_has_none_waiting(ledger: Ledger) -> None:
    assert ledger.missing_tickets() == 0
    opened(ledger, chunks=5)
    opened(ledger, chunks=2, priority=Priority.LOW)
    assert ledger.missing_tickets() == 7
    claim = claimed(ledger)
    assert ledger.missing_tickets() == 6
    ledger.redis.rpush(QUEUE, *["ticket"] * 4)
    assert ledger.missing_tickets() == 2
    ledger.redis.rpush(QUEUE, *["ticket"] * 4)
    assert ledger.missing_tickets() == 0
    ledger.redis.delete(QUEUE)
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
    ledger.redis.rpush(QUEUE, *["ticket"] * 1500)
    assert ledger.missing_tickets() == MAX_TICKETS - 1500


def test_a_job_tells_whether_any_worker_runs_and_how_long_it_takes_only_if_one_does(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2, images=20)
    assert not ledger.status(job_id).workers_run
    ledger.sign_of_life(seconds=60)
    claim = claimed(ledger)
    ledger.complete(job_id, claim.chunk, Counts(10, 0, 10, {}, {}))
    running = ledger.status(job_id)
    assert running.workers_run
    assert running.eta_s is not None
    ledger.sign_of_life(seconds=0.01)
    deadline = time.monotonic() + 20
    while ledger.status(job_id).workers_run:
        assert time.monotonic() < deadline
    abandoned = ledger.status(job_id)
    assert abandoned.images_per_s
    assert abandoned.eta_s is None


def test_one_at_a_time_reconciles(ledger: Ledger, redis_url: str) -> None:
    with closing(Ledger(redis_url)) as other:
        assert ledger.try_reconciler_lock(seconds=1)
        assert not other.try_reconciler_lock(seconds=60)
        time.sleep(1.1)
        assert other.try_reconciler_lock(seconds=60)
        assert not ledger.try_reconciler_lock(seconds=60)


def test_tickets_that_dead_workers_held_are_forgotten_at_rest_and_not_before(ledger: Ledger) -> None:
    opened(ledger)
    ledger.redis.hset(UNACKED, "tag", "ticket")
    ledger.redis.zadd(UNACKED_INDEX, {"tag": time.time()})
    assert ledger.missing_tickets() == 1
    claim = claimed(ledger)
    assert ledger.missing_tickets() == 0
    assert ledger.redis.hlen(UNACKED) == 1
    complete(ledger, claim)
    assert ledger.missing_tickets() == 0
    assert ledger.redis.exists(UNACKED, UNACKED_INDEX) == 0


# A clock that was set back by an hour: what was to last for seconds seems to last for an hour and seconds


def test_a_lease_of_before_the_clock_was_set_back_runs_out_all_the_same(ledger: Ledger) -> None:
    opened(ledger)
    claimed(ledger)
    (member,) = ledger.redis.zrange(LEASES, 0, -1)
    ledger.redis.zadd(LEASES, {member: ledger.now() + 3600})
    assert ledger.claim() is None
    assert ledger.redis.zscore(LEASES, member) <= ledger.now() + LEASE_S


def test_a_lock_of_before_the_clock_was_set_back_keeps_nobody_from_reconciling(ledger: Ledger) -> None:
    ledger.redis.set(RECONCILER_LOCK, 1, px=3_600_000)
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
            if fate == "complete" and ledger.renew(claim, note=dice.randrange(10)):
                finishes.extend([claim.job_id] * (complete(ledger, claim) is Completion.JOB_IS_FINISHED))
            elif fate == "give back":
                ledger.release(claim, hung=dice.choice([None, 3]))
            elif fate == "trouble":
                ledger.release(claim, delay_s=60, trouble="x")
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
    assert ledger.redis.zcard(DUE) == ledger.redis.zcard(LEASES) == 0
    parts = {key.decode().rpartition(":")[2] for job in jobs for key in ledger.redis.keys(job_key(job, "*"))}
    assert parts == {"done", "pace"}


# A Redis that does not answer or refuses


@contextmanager
def config(ledger: Ledger, name: str, value: str) -> Iterator[None]:
    before = ledger.redis.config_get(name)[name]
    ledger.redis.config_set(name, value)
    try:
        yield
    finally:
        ledger.redis.config_set(name, before)


def test_a_full_redis_is_one_line_and_loses_no_chunk(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    claim = claimed(ledger)
    expire_leases(ledger)
    refused = r"^Redis at redis://[^\n]+ is full: [^\n]+$"
    with config(ledger, "maxmemory", "1"):
        with pytest.raises(RedisUnavailableError, match=refused):
            create(ledger)
        with pytest.raises(RedisUnavailableError, match=refused):
            complete(ledger, claim)
        for _ in range(3):
            # It may hand chunks out or refuse; what is half done in between would be lost.
            with suppress(RedisUnavailableError):
                ledger.claim()
    expire_leases(ledger)
    while again := ledger.claim():
        complete(ledger, again)
    status = ledger.status(job_id)
    assert (status.state, status.scored) == (JobState.SUCCEEDED, 20)


def failure(url: str) -> str:
    """What is said of a Redis that cannot be used."""
    with closing(Ledger(url)) as ledger, pytest.raises(RedisUnavailableError, match=r"^[^\n]+$") as caught:
        ledger.ping()
    return str(caught.value)


def test_a_redis_that_is_not_there_is_one_line_without_the_password() -> None:
    text = failure("redis://me:se%40cret@127.0.0.1:1/2?socket_timeout=3")
    assert text.startswith("cannot reach Redis at redis://127.0.0.1:1/2 (")
    assert text.endswith("): start it, or set FIQA_REDIS_URL")


def test_a_socket_that_is_not_there_is_one_line_without_the_password() -> None:
    text = failure("unix:///nowhere/redis.sock?db=1&password=se%40cret")
    assert text.startswith("cannot reach Redis at unix:///nowhere/redis.sock (")


def test_a_wrong_password_is_one_line_without_it(ledger: Ledger, redis_url: str) -> None:
    ledger.redis.execute_command("ACL", "SETUSER", "guarded", "on", ">right", "~*", "+@all")
    host = redis_url.removeprefix("redis://")
    try:
        with closing(Ledger(f"redis://guarded:right@{host}")) as right:
            right.ping()
        text = failure(f"redis://guarded:wrong@{host}")
    finally:
        ledger.redis.execute_command("ACL", "DELUSER", "guarded")
    assert text == f"Redis at {redis_url} refuses the login: check user and password in FIQA_REDIS_URL"


def test_a_redis_that_does_not_answer_in_time_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa_producer.ledger.ExponentialBackoff", lambda **_: NoBackoff())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        assert failure(f"{url}?socket_timeout=0.05") == f"Redis at {url} does not answer in time: try again"


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:port/0",
        "redis://localhost:99999/0",
        "redis://localhost/zero",
        "redis://me:se/cret@localhost/0",
        "redis://[half/0",
        "redis://localhost/0?unknown=1",
        "redis://localhost/0?socket_timeout=secret",
    ],
)
def test_a_url_that_is_none_is_one_line_without_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^FIQA_REDIS_URL: not a Redis URL: redis://user:password@host[^\n]+$"):
        Ledger(url)


def test_the_scripts_survive_a_redis_that_forgot_them(ledger: Ledger) -> None:
    job_id = opened(ledger)
    ledger.redis.script_flush()
    claim = claimed(ledger)
    ledger.redis.script_flush()
    assert complete(ledger, claim) is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_connections_that_were_cut_are_made_anew(ledger: Ledger, redis_url: str) -> None:
    job_id = opened(ledger)
    with closing(redis.Redis.from_url(redis_url)) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
    assert claimed(ledger).job_id == job_id
