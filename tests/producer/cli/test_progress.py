from __future__ import annotations

import dataclasses
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from fiqa.cli.output import exit_status
from fiqa.cli.progress import JobProgress
from fiqa.cli.status_line import drawn, one_line, summary
from fiqa.contract import JobState, Priority
from fiqa.ledger.keys import job_key
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.status import JobStatus
from fiqa.results.text import duration
from tests.producer.cli.running import FIQA, submitted

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
    options={},
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


def test_elsewhere_than_on_a_terminal_progress_is_a_line_every_10_s(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    odd = dataclasses.replace(STATUS, reason="[Errno 2] no such [/b] \x1b[31mfile")
    with JobProgress(clock=lambda: now) as progress:
        for second in range(35):
            now = float(second)
            progress.show(dataclasses.replace(odd, scored=100 * second, no_face=0))
            progress.show(dataclasses.replace(odd, scored=100 * second + 1, no_face=0))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" scored")[0] for line in err.splitlines()] == [
        "running 8 % 1,000/12,000: 1,000",
        "running 16 % 2,000/12,000: 2,000",
        "running 25 % 3,000/12,000: 3,000",
        "running 28 % 3,401/12,000: 3,401",
    ]
    assert "[Errno 2] no such [/b] \\x1b[31mfile" in err


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_has_a_bar_and_the_whole_reason(ledger: Ledger, images: Path, columns: int) -> None:
    job = submitted(images)
    reason = "chunk 0: cannot read s3://a-bucket-with-a-long-name: access is denied: AccessDenied: set its credentials"
    ledger.connection.redis.hset(job_key(job), mapping={"last_error": reason})
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # COLUMNS would count more than the terminal's own width.
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        [*FIQA, "watch", job], stdin=slave, stdout=slave, stderr=slave, env=environment | {"TERM": "xterm"}
    ) as run:
        os.close(slave)
        read = b""
        while b"credentials" not in read:
            read += os.read(master, 4096)
        run.send_signal(signal.SIGTERM)
    os.close(master)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", read.decode(errors="ignore"))
    assert "running 0 % 0/20" in shown
    assert ("─" in shown) == (columns > 60)
    assert "no worker runs: start `fiqa worker`" in shown
    assert reason in re.sub(r" ?\n", " ", shown)


def test_workers_that_do_not_fit_are_counted() -> None:
    line = summary(dataclasses.replace(STATUS, fingerprint="abcd", workers_unfit=3))
    assert "3 workers run, but with other models, settings or version than the job's (abcd)" in line
