"""Standard input, output and error that are closed, as under some schedulers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fiqa_process import BUILTIN


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        ("score {image} 2>&-", 0, ""),
        ("run {image} -o out.jsonl <&- >&- 2>&-", 0, ""),
        ("run {image} >&-", 2, "fiqa: cannot write standard output: Bad file descriptor"),
        ("score - <&-", 2, "fiqa: standard input is closed: pipe an image into it"),
    ],
)
def test_standard_streams_may_be_closed(photos: Path, tmp_path: Path, command: str, status: int, error: str) -> None:
    line = f"exec {sys.executable} -m fiqa {command.format(image=photos / 'original-0.jpg')}"
    environment = {**os.environ, **BUILTIN, "FIQA_MODELS_DIR": str(tmp_path / "models")}
    done = subprocess.run(
        ["sh", "-c", line], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.splitlines()[-1:] == ([error] if error else [])
    assert "Traceback" not in done.stderr
    assert "out.jsonl" not in command or (tmp_path / "out.jsonl").read_text().count("\n") == 1
