"""Commands of `fiqa`, each in a process of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.fiqa_process import Run, run_fiqa

FIQA = [sys.executable, "-m", "fiqa"]
JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
# Such as "1 images". A point or a comma before it belongs to another number.
ONE_IS_PLURAL = re.compile(r"(?<![\d.,:/-])\b1 (?!has\b|is\b|was\b)[a-z]+s\b")


def fiqa(*arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = "", cwd: Path | None = None) -> Run:
    """Run a command. Whatever happens, there must be no traceback."""
    done = run_fiqa(*arguments, environment=os.environ | (env or {}), cwd=cwd, stdin=stdin)
    assert "Traceback" not in done.stderr
    assert not ONE_IS_PLURAL.search(done.stderr), done.stderr
    return done


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
