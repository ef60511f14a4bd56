"""Jobs in the ledger: opened, controlled, stopped, over, recovered, and their pace."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fiqa.contract import ErrorCode, JobSpec, JobState, Priority
from fiqa.errors import JobStateError, UnknownJobError
from fiqa.ledger.claims import Claim, Completion, Counts
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.keys import DUE, ENDED, LEASES, job_key
from fiqa.ledger.ledger import Ledger
from fiqa.storage.redis import RedisStorage
from tests.producer.ledger.ledger_jobs import claimed, complete, create, expire_leases, opened, scored, turns
from tests.waiting import wait_until

# The producer's side


def test_job_ids_are_all_different_and_sort_by_time() -> None:
    ids = [new_job_id() for _ in range(10)]  # of 50, two are the same once in 14,000 runs
    assert len(set(ids)) == 10
    assert [job_id[:15] for job_id in ids] == sorted(job_id[:15] for job_id in ids)


def test_a_job_is_preparing_until_it_is_opened_and_nobody_works_on_it_before(ledger: Ledger) -> None:
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


def test_a_job_is_not_opened_by_who_entered_it_before_another_did(ledger: Ledger) -> None:
    job_id, first = create(ledger)
    ledger.check_submission(job_id, first)
    second = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis", replace=True)
    told = rf"^job {job_id} was replaced by another `submit --resume-id` or `recover`: "
    with pytest.raises(JobStateError, match=told):
        ledger.check_submission(job_id, first)
    with pytest.raises(JobStateError, match=told):
        ledger.open(job_id, first, chunks=1, images=1)
    with pytest.raises(JobStateError, match=told):
        ledger.abandon(job_id, first)
    with pytest.raises(JobStateError, match=told):
        ledger.control(job_id, Control.DELETE, submission=first)
    assert ledger.status(job_id).state is JobState.PREPARING
    ledger.open(job_id, second, chunks=1, images=1)
    assert not ledger.abandon(job_id, second)
    with pytest.raises(JobStateError, match="is in Redis already"):
        ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis", replace=True)


def test_an_abandoned_job_is_opened_and_submitted_again_by_nobody(ledger: Ledger) -> None:
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
    assert ledger.ended() == []  # it has nothing to sum up


def test_jobs_come_newest_first(ledger: Ledger) -> None:
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
def test_an_unknown_job_is_one_line_that_says_where_to_look(ledger: Ledger, act: Callable[[Ledger, str], None]) -> None:
    job_id = new_job_id()
    with pytest.raises(UnknownJobError, match=rf"^no job {job_id}: `fiqa jobs` lists those there are$"):
        act(ledger, job_id)
    assert ledger.connection.redis.keys() == []


@pytest.mark.parametrize("job_id", ["", "backfill", "20250101-000000-ABCDEF", "20250101-000000-abcdef\n", "../x", "*"])
def test_what_is_no_job_id_is_not_looked_up(ledger: Ledger, job_id: str) -> None:
    with pytest.raises(UnknownJobError, match=r"is not a job id: `fiqa jobs` lists them$"):
        ledger.status(job_id)


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
    assert ledger.connection.redis.zcard(LEASES) == ledger.connection.redis.zcard(DUE) == ledger.missing_tickets() == 0
    assert complete(ledger, held[1]) is Completion.COUNTED  # its shard was stored a moment before
    assert ledger.done_chunks(job_id) == [0, 1]
    assert ledger.status(job_id).state is JobState.CANCELLED


def test_a_cancelled_job_takes_no_chunk_from_another(ledger: Ledger) -> None:
    job_id, _ = held_by_three(ledger)
    other = opened(ledger, priority=Priority.HIGH)
    assert claimed(ledger).job_id == other
    ledger.control(job_id, Control.CANCEL)
    assert [lease.decode() for lease in ledger.connection.redis.zrange(LEASES, 0, -1)] == [f"{other}:0"]


@pytest.mark.parametrize("control", [Control.PAUSE, Control.RESUME, Control.CANCEL])
def test_a_control_given_twice_does_nothing_the_second_time(ledger: Ledger, control: Control) -> None:
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
def test_a_control_that_does_not_fit_the_state_is_one_line_and_changes_nothing(
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


def test_a_forgotten_job_leaves_nothing(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.connection.redis.hset(job_key(job_id, "manifest"), 0, b"x")
    ledger.control(job_id, Control.CANCEL)
    ledger.control(job_id, Control.DELETE)
    assert ledger.connection.redis.keys() == []
    RedisStorage(ledger.connection).write_once(job_id, "results", 1, b"late")
    assert ledger.connection.redis.keys() == []


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
    job_id, submission = create(ledger, storage="/home", max_failed=0.5)
    ledger.open(job_id, submission, chunks=3, images=3000)
    first, second = claimed(ledger), claimed(ledger)
    broken = Counts(0, 0, 0, {ErrorCode.NOT_FOUND: 1000}, {})
    complete(ledger, first, broken)
    ledger.summarized(job_id)
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
    job_id, submission = create(ledger, max_failed=max_failed)
    ledger.open(job_id, submission, chunks=3, images=3000)
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
    job_id, submission = create(ledger, keep_s=1)
    ledger.connection.redis.hset(job_key(job_id, "manifest"), mapping={"0": b"m", "1": b"m"})
    ledger.open(job_id, submission, chunks=2, images=20)
    answers = []
    for claim in (claimed(ledger), claimed(ledger)):
        RedisStorage(ledger.connection).write_once(job_id, "results", claim.chunk, b"r")
        answers.append(complete(ledger, claim))
    # Its status is not asked for: it may be gone by then.
    assert answers == [Completion.COUNTED, Completion.JOB_IS_FINISHED]
    ledger.connection.redis.delete(job_key(job_id, "pace"))  # it goes after two minutes
    wait_until(lambda: not ledger.connection.redis.keys("fiqa:job:*"))
    assert ledger.jobs() == []
    assert ledger.connection.redis.keys() == []


def test_results_that_come_after_a_job_was_cancelled_go_with_it(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    ledger.control(job_id, Control.CANCEL)
    RedisStorage(ledger.connection).write_once(job_id, "results", held[0].chunk, b"r")
    complete(ledger, held[0])
    for part in ("", "done", "results"):
        assert ledger.connection.redis.ttl(job_key(job_id, part)) > 0


def test_a_finished_job_with_a_home_of_its_own_stays_until_it_is_deleted_and_wants_a_summary(ledger: Ledger) -> None:
    job_id, submission = create(ledger, storage="s3://b/p")
    ledger.open(job_id, submission, chunks=1, images=10)
    assert ledger.ended() == []
    complete(ledger, claimed(ledger))
    assert ledger.ended() == [job_id]
    assert ledger.connection.redis.ttl(job_key(job_id)) == -1
    ledger.summarized(job_id)
    assert not ledger.connection.redis.exists(ENDED)


def test_a_recovered_job_hands_out_what_is_not_done(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa.ledger.ledger.LEASE_S", 200)  # so many claims may take longer than 10 s
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


def test_a_job_whose_hash_alone_was_lost_is_recovered_from_its_beginning(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    complete(ledger, held[0])
    ledger.release(held[1])
    ledger.connection.redis.delete(job_key(job_id), DUE, LEASES)
    submission = ledger.create(JobSpec(id=job_id, created=0), storage="redis")
    ledger.open(job_id, submission, chunks=3, images=30)
    assert [claimed(ledger).chunk for _ in range(3)] == [0, 1, 2]
    assert ledger.done_chunks(job_id) == []


def test_a_recovered_job_of_which_all_is_done_has_succeeded(ledger: Ledger) -> None:
    job_id, submission = create(ledger)
    for chunk in range(3):
        ledger.complete(job_id, chunk, scored())
    ledger.open(job_id, submission, chunks=3, images=30)
    assert ledger.status(job_id).state is JobState.SUCCEEDED
    assert ledger.claim() is None


def test_who_held_a_chunk_before_redis_was_lost_can_do_nothing_with_it_after_the_recovery(ledger: Ledger) -> None:
    spec = JobSpec(id=new_job_id(), created=ledger.connection.now())
    claims = []
    for _ in range(2):
        ledger.connection.redis.flushall()
        submission = ledger.create(spec, storage="s3://photos/fiqa")
        ledger.open(spec.id, submission, chunks=1, images=10)
        claims.append(claimed(ledger))
    late, holder = claims
    assert not ledger.renew(late)
    assert ledger.renew(holder)


# Pace


def set_times(ledger: Ledger, job_id: str, **ago: float) -> None:
    now, _ = ledger.connection.redis.time()
    for name, seconds in ago.items():
        ledger.connection.redis.hset(job_key(job_id), name, f"{now - seconds:.3f}")


def test_a_job_that_has_not_started_has_no_pace(ledger: Ledger) -> None:
    status = ledger.status(opened(ledger))
    assert (status.started, status.images_per_s, status.eta_s) == (None, None, None)


def test_the_pace_of_a_running_job_is_that_of_the_last_minute(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=100, images=10_000)
    complete(ledger, claimed(ledger), scored(600))
    set_times(ledger, job_id, started=3600)
    ledger.heartbeat(seconds=60)
    status = ledger.status(job_id)
    assert status.images_per_s is not None
    assert status.eta_s is not None
    # A minute, and up to one bucket of 5 s; doubled for a machine that stands still.
    assert 600 / 70 / 2 < status.images_per_s <= 600 / 60
    assert status.images_per_s * status.eta_s == pytest.approx(9_400)


def test_what_was_done_before_the_last_minute_has_no_part_in_the_pace(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=100, images=10_000)
    complete(ledger, claimed(ledger), scored(600))
    (bucket,) = ledger.connection.redis.hkeys(job_key(job_id, "pace"))
    ledger.connection.redis.hset(job_key(job_id, "pace"), int(bucket) - 100, 5_000)
    set_times(ledger, job_id, started=3600)
    pace = ledger.status(job_id).images_per_s
    assert pace is not None
    assert pace <= 600 / 60
    complete(ledger, claimed(ledger))
    assert str(int(bucket) - 100).encode() not in ledger.connection.redis.hkeys(job_key(job_id, "pace"))


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
    seconds, micros = ledger.connection.redis.time()
    job_id = opened(ledger)
    complete(ledger, claimed(ledger))
    status = ledger.status(job_id)
    assert status.started is not None
    assert status.finished is not None
    assert seconds + micros / 1e6 - 0.001 <= status.created <= status.started + 0.001 <= status.finished + 0.002
