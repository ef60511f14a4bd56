"""The embedded system where temporary folders are long, missing or read-only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fiqa import ImageResult, Status
from tests.fiqa_process import BUILTIN, one_line
from tests.waiting import WAIT_S, wait_until
from tests.worker.local.started import started_in


@pytest.mark.parametrize("number", [0, signal.SIGKILL], ids=["ended", "sigkill"])
def test_a_long_temporary_folder_has_its_socket_elsewhere_and_leaves_nothing(
    photos: Path, tmp_path: Path, number: int
) -> None:
    temporary, short = tmp_path / ("x" * 120), Path("/tmp")  # noqa: S108  where a short folder is
    temporary.mkdir()
    before = set(short.glob("fiqa-*"))
    with subprocess.Popen(
        [sys.executable, "-m", "fiqa", "run", photos / "large-0.jpg", "--concurrency", "1"],
        env={**os.environ, **BUILTIN, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        if number:
            wait_until(lambda: list(temporary.glob("fiqa-*/worker.log")))
            run.send_signal(number)
        out, _ = run.communicate(timeout=WAIT_S)
    assert run.returncode == -number
    assert number or ImageResult.decode(out).status is Status.SCORED
    wait_until(lambda: not list(temporary.iterdir()))
    # Other tests make folders there too, which come and go.
    wait_until(lambda: not [path for path in set(short.glob("fiqa-*")) - before if started_in(path)])


def test_the_error_for_a_temporary_folder_that_cannot_be_made_is_one_line(photos: Path) -> None:
    code = "import tempfile; tempfile.tempdir = '/proc/nowhere'; from fiqa.cli.main import main; main()"
    command = [sys.executable, "-c", code, "run", str(photos / "original-0.jpg")]
    done = subprocess.run(command, env={**os.environ, **BUILTIN}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    why = "fiqa: cannot make a temporary folder: No such file or directory: set TMPDIR to a writable folder"
    assert one_line(done) == why


def test_the_error_for_a_dev_shm_that_cannot_be_written_is_one_line(photos: Path) -> None:
    read_only = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$0" "$@"']
    if subprocess.run([*read_only, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    command = [*read_only, sys.executable, "-m", "fiqa", "run", str(photos / "original-0.jpg")]
    done = subprocess.run(command, env={**os.environ, **BUILTIN}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fiqa: cannot make semaphores for the processes in /dev/shm: Read-only file system")
