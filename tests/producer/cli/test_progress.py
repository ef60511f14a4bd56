from __future__ import annotations

import dataclasses

import pytest

from fiqa.cli.output import exit_status
from fiqa.cli.progress import JobProgress, summary
from fiqa.contract import JobState, Priority
from fiqa.ledger.status import JobStatus
from fiqa.results.text import duration

STATUS = JobStatus(
    id="20250101-000000-abcdef",
    name=None,
    state=JobState.RUNNING,
    images=12_000,
    scored=1_234,
    no_face=5,
    failed=0,
    failed_by_code={},
    faces=1_300,
    chunks=60,
    chunks_done=6,
    images_per_s=None,
    eta_s=None,
    created=0,
    started=0,
    finished=None,
    last_error=None,
    reason=None,
    priority=Priority.NORMAL,
    storage="redis",
    parent=None,
    models={},
    max_failed=0.5,
    keep_s=60,
    fingerprint=None,
    workers_run=True,
    workers_unfit=0,
)


@pytest.mark.parametrize(
    ("state", "failed", "before", "expected"),
    [
        (JobState.SUCCEEDED, 6_000, {}, 0),
        (JobState.SUCCEEDED, 6_001, {}, 1),
        (JobState.CANCELLED, 0, {}, 1),
        # With --resume, earlier results in the file count too.
        (JobState.SUCCEEDED, 12_000, {"images": 20_000, "failed": 4_000}, 0),
        (JobState.SUCCEEDED, 12_000, {"images": 20_000, "failed": 4_001}, 1),
    ],
)
def test_the_exit_status_is_1_if_too_many_images_failed(
    state: JobState, failed: int, before: dict[str, int], expected: int
) -> None:
    assert exit_status(dataclasses.replace(STATUS, state=state, failed=failed), **before) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (100, "2 min"),
        (3569, "59 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations_are_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_summary_has_counts_pace_and_time_left() -> None:
    assert summary(STATUS) == "1,234 scored, 5 no face, 0 failed"
    unclaimed = dataclasses.replace(STATUS, started=None)
    assert summary(unclaimed) == "1,234 scored, 5 no face, 0 failed, waiting for a free worker"
    abandoned = dataclasses.replace(STATUS, images_per_s=1234.5, workers_run=False)
    assert summary(abandoned) == "1,234 scored, 5 no face, 0 failed, no worker runs: start `fiqa worker`"
    running = dataclasses.replace(STATUS, images_per_s=1234.5, eta_s=90, last_error="chunk 3: storage is down")
    assert summary(running) == "1,234 scored, 5 no face, 0 failed, 1,234 images/s, 2 min left, chunk 3: storage is down"


def test_the_bar_goes_to_standard_error_and_prints_reasons_unchanged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    odd = dataclasses.replace(STATUS, reason="[Errno 2] no such [/b] file")
    with JobProgress() as progress:
        progress.show(dataclasses.replace(odd, state=JobState.PREPARING, images=0, scored=0, no_face=0))
        progress.show(odd)
    out, err = capsys.readouterr()
    assert out == ""
    for part in ("running", "1239/12000", "1,234 scored", "[Errno 2] no such [/b] file"):
        assert part in err


def test_workers_that_do_not_fit_are_counted() -> None:
    line = summary(dataclasses.replace(STATUS, fingerprint="abcd", workers_unfit=3))
    assert "3 workers do not fit: the job's scores are of other models, settings or version (abcd)" in line
