"""How a job ends, and what is left of it."""

from __future__ import annotations

import pytest

from fiqa.contract import ErrorCode, JobState
from fiqa.ledger.claims import Completion, Counts
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.storage.redis import RedisStorage
from tests.keys import ENDED, EXPIRED, EXPIRING, JOBS, LEASES, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    create,
    expire_leases,
    held_by_three,
    opened,
)
from tests.waiting import wait_until


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


@pytest.mark.parametrize(
    ("images", "failed", "max_failed", "state"),
    [
        (1000, 501, 0.5, JobState.FAILED),
        (1000, 500, 0.5, JobState.RUNNING),
        (999, 999, 0.5, JobState.RUNNING),  # too few images
        (1000, 1000, 1.0, JobState.RUNNING),
        (1000, 1, 0.0, JobState.FAILED),
        (1000, 0, 0.0, JobState.RUNNING),
    ],
)
def test_a_job_is_stopped_if_too_many_of_its_images_failed(
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


def test_a_finished_job_keeps_only_the_keys_that_are_still_read(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3)
    ledger.release(claimed(ledger), hung=1, last_error="x")
    ledger.renew(claimed(ledger), in_flight=2)
    expire_leases(ledger)
    while claim := ledger.claim():
        complete(ledger, claim)
    assert {key.decode() for key in ledger.connection.redis.scan_iter()} == {
        JOBS,
        EXPIRED,
        EXPIRING,
        job_key(job_id),
        job_key(job_id, "done"),
    }


def test_a_finished_job_with_results_in_redis_expires_with_all_its_keys(ledger: Ledger) -> None:
    job_id, submission = create(ledger, keep_s=1)
    ledger.connection.redis.hset(job_key(job_id, "manifest"), mapping={"0": b"m", "1": b"m"})
    ledger.open(job_id, submission, chunks=2, images=20)
    answers = []
    for claim in (claimed(ledger), claimed(ledger)):
        RedisStorage(ledger.connection).write_once(job_id, "results", claim.chunk, b"r")
        answers.append(complete(ledger, claim))
    # Do not read the status: the job may have expired by now.
    assert answers == [Completion.COUNTED, Completion.JOB_IS_FINISHED]
    wait_until(lambda: not ledger.connection.redis.keys(job_key("*")))
    assert ledger.jobs() == []
    assert ledger.connection.redis.keys() == []


def test_results_stored_after_a_job_was_cancelled_expire_with_it(ledger: Ledger) -> None:
    job_id, held = held_by_three(ledger)
    ledger.control(job_id, Control.CANCEL)
    RedisStorage(ledger.connection).write_once(job_id, "results", held[0].chunk, b"r")
    complete(ledger, held[0])
    for part in ("", "done", "results"):
        assert ledger.connection.redis.ttl(job_key(job_id, part)) > 0


def test_a_finished_job_with_results_elsewhere_expires_once_its_summary_is_written(ledger: Ledger) -> None:
    job_id, submission = create(ledger, storage="s3://b/p", keep_s=1)
    ledger.open(job_id, submission, chunks=1, images=10)
    assert ledger.ended() == []
    complete(ledger, claimed(ledger))
    assert ledger.ended() == [job_id]
    assert ledger.connection.redis.ttl(job_key(job_id)) == -1
    ledger.summarized(job_id, chunks_done=1)
    assert not ledger.connection.redis.exists(ENDED)
    wait_until(lambda: not ledger.connection.redis.exists(job_key(job_id), job_key(job_id, "done")))
    wait_until(lambda: ledger.forget_expired() == 1)
    assert not ledger.connection.redis.exists(JOBS, EXPIRING)


def test_the_newest_jobs_are_listed_though_newer_ones_have_expired(ledger: Ledger) -> None:
    old = [opened(ledger) for _ in range(3)]
    for _ in range(50):
        ledger.connection.redis.delete(job_key(opened(ledger)))
    assert sorted(status.id for status in ledger.jobs(limit=20)) == sorted(old)
    assert ledger.connection.redis.zcard(JOBS) == 3


def test_a_summary_that_lacks_a_chunk_is_written_again(ledger: Ledger) -> None:
    job_id, submission = create(ledger, storage="s3://b/p")
    ledger.open(job_id, submission, chunks=2, images=20)
    first = claimed(ledger)
    ledger.control(job_id, Control.CANCEL)
    complete(ledger, first)
    ledger.summarized(job_id, chunks_done=0)
    assert ledger.ended() == [job_id]
    ledger.summarized(job_id, chunks_done=1)
    assert ledger.ended() == []


def test_the_end_of_a_job_drops_only_its_own_leases(ledger: Ledger) -> None:
    other = opened(ledger, chunks=3)
    job_id, held = held_by_three(ledger)
    mine = [claim for claim in held if claim.job_id == job_id] + [claimed(ledger) for _ in range(3)]
    ledger.release(next(claim for claim in mine if claim.job_id == job_id), delay_s=60)
    before = {raw.decode() for raw in ledger.connection.redis.zrange(LEASES, 0, -1)}
    ledger.control(job_id, Control.CANCEL)
    after = {raw.decode() for raw in ledger.connection.redis.zrange(LEASES, 0, -1)}
    assert after == {lease for lease in before if lease.startswith(other)}


def test_a_chunk_counted_after_its_job_was_stopped_keeps_the_reason_and_renews_the_summary(
    ledger: Ledger,
) -> None:
    job_id, submission = create(ledger, storage="/storage", max_failed=0.5)
    ledger.open(job_id, submission, chunks=3, images=3000)
    first, second = claimed(ledger), claimed(ledger)
    broken = Counts(0, 0, 0, {ErrorCode.NOT_FOUND: 1000}, {})
    complete(ledger, first, broken)
    ledger.summarized(job_id, chunks_done=1)
    complete(ledger, second, broken)
    status = ledger.status(job_id)
    assert (status.state, status.reason) == (JobState.FAILED, "1000 of the first 1000 images failed")
    assert ledger.ended() == [job_id]
