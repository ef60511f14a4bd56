"""Commands of `fiqa`, each in a new process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.fiqa_process import Run, run_fiqa

FIQA = [sys.executable, "-m", "fiqa"]
JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


def fiqa(*arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = "", cwd: Path | None = None) -> Run:
    return run_fiqa(*arguments, environment=os.environ | (env or {}), cwd=cwd, stdin=stdin)


def refused(done: Run, status: int) -> str:
    """Return the one line that says why."""
    assert (done.returncode, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("fiqa: ")
    return line.removeprefix("fiqa: ")


def submitted(*arguments: str | Path, stdin: str = "") -> str:
    """Submit a job, and return its id."""
    done = fiqa("submit", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
