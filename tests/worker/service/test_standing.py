"""Which failures of a process are results, with a stepped clock and without Redis."""

from __future__ import annotations

import pytest

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, Status
from fiqa_worker.pipeline.roots import Roots
from fiqa_worker.service.standing import CREDIT, DOUBTS_IN_A_ROW, ChunkStanding, Standing
from tests.worker.service.stepped import SteppedClock

DEPENDS = ("not_found", "access_denied", "fetch_failed", "fetch_timeout")
SCORING = "scoring"
FACE = Face(box=(0, 0, 9, 9), confidence=0.9, landmarks=((1, 1),) * 5, quality=0.5)
OF_THE_IMAGE = ("too_large", "unsupported_format", "decode_failed", "too_many_pixels")


def standing(clock: SteppedClock | None = None) -> Standing:
    return Standing(Roots(("s3://", "file:///data", "file:///data/inner/")).root_of, clock=clock or SteppedClock())


def result(uri: str, code: str | None = None) -> ImageResult:
    error = ImageError(code=ErrorCode(code), message="why") if code else None
    status = Status.FAILED if error else Status.SCORED
    faces = () if error else (FACE,)
    return ImageResult(uri=uri, status=status, faces=faces, error=error, detector="d", quality_model="q")


def note(chunk: ChunkStanding, uri: str, code: str | None = None, *, times: int = 1) -> list[bool]:
    return [chunk.add(result(uri, code)) is not None for _ in range(times)]


@pytest.mark.parametrize("code", DEPENDS)
def test_a_failure_of_a_source_that_was_never_read_is_a_doubt(code: str) -> None:
    chunk = standing().start_chunk()
    assert note(chunk, "s3://a/1", code, times=3) == [False] * 3
    (doubt,) = chunk.doubts.values()
    assert (doubt.root, doubt.uri, doubt.code, doubt.message) == ("s3://a", "s3://a/1", code, "why")


@pytest.mark.parametrize("code", DEPENDS)
def test_after_many_doubts_in_a_row_the_ledger_must_decide_before_the_chunk_continues(code: str) -> None:
    chunk = standing().start_chunk()
    assert note(chunk, "file:///data/1", code, times=DOUBTS_IN_A_ROW + 2) == [
        *[False] * (DOUBTS_IN_A_ROW - 1),
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("code", [None, *OF_THE_IMAGE])
@pytest.mark.parametrize("failed", DEPENDS)
def test_an_image_that_was_read_proves_its_source_for_this_chunk_and_the_next(code: str | None, failed: str) -> None:
    process = standing()
    chunk = process.start_chunk()
    note(chunk, "s3://a/1", failed, times=3)
    note(chunk, "s3://a/2", code)
    note(chunk, "s3://a/3", failed)
    assert (chunk.doubts, chunk.proven - {SCORING}) == ({}, {"s3://a"})
    following = process.start_chunk()
    note(following, "s3://a/4", failed)
    assert (following.doubts, following.proven) == ({}, set())


def test_after_an_image_was_read_a_limited_number_of_failures_are_results() -> None:
    process = standing()
    note(process.start_chunk(), "file:///data/1")
    for _ in range(CREDIT):
        chunk = process.start_chunk()
        note(chunk, "file:///data/2", "not_found")
        assert chunk.doubts == {}
    chunk = process.start_chunk()
    note(chunk, "file:///data/2", "not_found")
    assert list(chunk.doubts) == ["file:///data"]
    note(chunk, "file:///data/1")
    note(chunk, "file:///data/2", "not_found")
    assert chunk.doubts == {}


@pytest.mark.parametrize("code", ["access_denied", "fetch_failed", "fetch_timeout"])
def test_one_source_proves_nothing_about_another(code: str) -> None:
    chunk = standing().start_chunk()
    note(chunk, "s3://a/1")
    note(chunk, "file:///data/inner/1")
    note(chunk, "s3://b/1", code)
    note(chunk, "file:///data/1", "not_found")
    assert list(chunk.doubts) == ["s3://b", "file:///data"]


def test_an_image_of_any_bucket_proves_that_objects_do_not_exist() -> None:
    chunk = standing().start_chunk()
    note(chunk, "s3://b/1", "not_found")
    note(chunk, "s3://a/1")
    note(chunk, "s3://c/1", "not_found")
    assert chunk.doubts == {}


@pytest.mark.parametrize("code", [None, *OF_THE_IMAGE])
def test_only_a_scored_image_of_any_source_proves_that_internal_errors_are_about_their_images(code: str | None) -> None:
    chunk = standing().start_chunk()
    note(chunk, "s3://a/1", "internal_error")
    (doubt,) = chunk.doubts.values()
    assert doubt.root == SCORING
    note(chunk, "file:///data/1", code)
    assert (list(chunk.doubts), SCORING in chunk.proven) == ([] if code is None else [SCORING], code is None)


def test_a_machine_that_stops_scoring_in_the_middle_of_a_job_fails_a_limited_number_of_images() -> None:
    chunk = standing().start_chunk()
    note(chunk, "s3://a/1")
    assert note(chunk, "s3://a/2", "internal_error", times=CREDIT + DOUBTS_IN_A_ROW)[-1]
    assert list(chunk.doubts) == [SCORING]


@pytest.mark.parametrize("code", ["time_limit", "worker_crashed"])
def test_a_failure_that_is_not_about_the_fetch_proves_nothing_and_is_no_doubt(code: str) -> None:
    chunk = standing().start_chunk()
    note(chunk, "s3://a/1", code)
    assert (chunk.doubts, chunk.proven) == ({}, set())


def test_a_source_that_is_not_allowed_is_always_decided_by_others() -> None:
    chunk = standing().start_chunk()
    note(chunk, "s3://a/1")
    assert note(chunk, "s3://a/2", "source_not_allowed") == [True]
    doubt = chunk.add(result("s3://a/2", "source_not_allowed"))
    assert doubt
    chunk.settle(doubt)
    assert note(chunk, "s3://b/2", "source_not_allowed") == [False]


def test_a_failure_that_other_machines_have_seen_is_a_result_from_then_on() -> None:
    process = standing()
    chunk = process.start_chunk()
    note(chunk, "s3://a/1", "access_denied")
    for doubt in list(chunk.doubts.values()):
        chunk.settle(doubt)
    assert note(chunk, "s3://a/1", "access_denied", times=100) == [False] * 100
    following = process.start_chunk()
    note(following, "s3://a/1", "access_denied", times=CREDIT)
    assert following.doubts == {}


def test_the_time_to_back_off_from_a_source_doubles_until_it_is_read() -> None:
    clock = SteppedClock()
    process = standing(clock)
    assert [process.cannot_read(f"job {number}", "s3://a") for number in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    assert process.cannot_read("other", "s3://b") == 2
    jobs, first_s = process.avoided()
    assert (len(jobs), first_s) == (8, 2)
    clock.now = 20
    assert process.avoided() == (["job 4", "job 5", "job 6"], 12)
    note(process.start_chunk(), "s3://a/1")
    assert process.cannot_read("job 0", "s3://a") == 2
