"""Counting the chunks that are complete."""

from __future__ import annotations

import random

import pytest

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, JobState, Status
from fiqa.ledger.claims import Completion, Counts
from fiqa.ledger.ledger import Ledger
from tests.keys import EXPIRED, JOBS, job_key
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    expire_leases,
    opened,
    scored,
)


def test_counts_are_the_sums_of_the_results() -> None:
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


def test_a_chunk_counts_once_even_if_several_workers_complete_it(ledger: Ledger) -> None:
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


def test_a_requeued_chunk_that_is_completed_is_not_handed_out_again(ledger: Ledger) -> None:
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
    assert ledger.connection.redis.keys() == [EXPIRED.encode()]


@pytest.mark.parametrize("chunks", [1, 8, 9, 1000])
def test_done_chunks_come_in_order(ledger: Ledger, chunks: int) -> None:
    job_id = opened(ledger, chunks=chunks)
    assert ledger.done_chunks(job_id) == []
    done = random.Random(chunks).sample(range(chunks), k=(chunks + 1) // 2)  # noqa: S311  not a secret
    for chunk in done:
        ledger.complete(job_id, chunk, scored())
    assert ledger.done_chunks(job_id) == sorted(done)
