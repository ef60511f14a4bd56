from __future__ import annotations

import dataclasses

import pytest

from fiqa.cli.status_line import drawn, one_line, summary
from tests.producer.status import STATUS


def test_a_summary_has_counts_pace_and_time_left() -> None:
    assert summary(STATUS) == "1,234 scored, 5 no face, 0 failed"
    unclaimed = dataclasses.replace(STATUS, started=None)
    assert summary(unclaimed) == "1,234 scored, 5 no face, 0 failed, waiting for a free worker"
    abandoned = dataclasses.replace(STATUS, images_per_s=1234.5, workers_run=False)
    assert summary(abandoned) == "1,234 scored, 5 no face, 0 failed, no worker runs: start `fiqa worker`"
    running = dataclasses.replace(STATUS, images_per_s=1234.5, eta_s=90, last_error="chunk 3: storage is down")
    assert summary(running) == "1,234 scored, 5 no face, 0 failed, 1,234 images/s, 2 min left, chunk 3: storage is down"


BUSY = dataclasses.replace(
    STATUS,
    images=12_345_678,
    scored=5_234_567,
    failed=12,
    images_per_s=12_345.6,
    eta_s=7_500,
    last_error="chunk 3: " + "x" * 90,
)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_state_share_total_and_reason_are_shown_however_narrow_the_terminal_is(width: int) -> None:
    first, reason = drawn(BUSY, width)
    assert first.startswith("running 42 % 5,234,584/12,345,678")
    assert len(first) <= width
    assert reason == BUSY.last_error


def test_a_narrow_terminal_has_no_bar_and_then_fewer_counts() -> None:
    assert "━" in drawn(BUSY, 130)[0]
    at_110, at_80, at_60 = (drawn(BUSY, width)[0] for width in (110, 80, 60))
    assert at_110.endswith("  5,234,567 scored, 5 no face, 12 failed, 12,346 images/s, 2 h 05 min left")
    assert at_80.endswith("  12 failed, 12,346 images/s, 2 h 05 min left")
    assert at_60.endswith("  12 failed")


def test_only_a_job_of_which_all_images_are_done_is_at_100_per_cent() -> None:
    almost = dataclasses.replace(STATUS, images=100_000, scored=99_994, no_face=5)
    assert drawn(almost, 200)[0].startswith("running 99 % 99,999/100,000")
    assert drawn(dataclasses.replace(almost, no_face=6), 200)[0].startswith("running 100 % 100,000/100,000")
    assert one_line(dataclasses.replace(STATUS, images=0, scored=0, no_face=0)).startswith("running 0/0: 0 scored")


def test_workers_that_do_not_fit_are_counted() -> None:
    line = summary(dataclasses.replace(STATUS, fingerprint="abcd", workers_unfit=3))
    assert "3 workers run, but with other models, settings or version than the job's (abcd)" in line
