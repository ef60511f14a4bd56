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

from fiqa.cli.progress import JobProgress
from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.cli.running import FIQA, submitted
from tests.producer.status import STATUS


def test_without_a_terminal_progress_is_a_line_every_10_s(capsys: pytest.CaptureFixture[str]) -> None:
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
