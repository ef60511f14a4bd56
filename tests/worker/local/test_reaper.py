"""The reaper ends what a killed `fiqa run` leaves running, and deletes its folders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fiqa_worker.local import reaper
from fiqa_worker.local.reaper import SERVER_PID
from tests.waiting import WAIT_S


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes as a run leaves them: its server, a worker, and one that takes no SIGTERM."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(["sh", "-c", f"{trap} echo; while :; do sleep 1; done"], stdout=-1))
            for trap in ("", "", "trap '' TERM;")
        ]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()  # it has set its trap
            stack.callback(process.kill)
        yield started


def test_the_end_of_the_pipe_ends_the_server_and_the_workers(
    processes: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    server, worker, _ = processes
    folder, sockets = tmp_path / "folder", tmp_path / "sockets"
    folder.mkdir()
    sockets.mkdir()
    (folder / SERVER_PID).write_text(f"{server.pid}\n")
    command = [sys.executable, "-m", "fiqa_worker.local.reaper", str(folder), str(sockets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as run:
        assert run.stdin is not None
        run.stdin.write(b"%d\n" % worker.pid)
        run.stdin.flush()
        assert (server.poll(), worker.poll(), run.poll()) == (None, None, None)
        run.stdin.close()
        # The reaper waits until they have ended, and they have ended for it once they are waited for.
        assert (worker.wait(WAIT_S), server.wait(WAIT_S)) == (-15, -15)
        assert run.wait(WAIT_S) == 0
    assert not folder.exists()
    assert not sockets.exists()


def test_a_process_that_takes_no_sigterm_is_killed(
    processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, stubborn = processes
    monkeypatch.setattr(reaper, "_STOP_S", 0.2)
    reaper._end(stubborn.pid)  # noqa: SLF001  its time to stop is 15 s
    assert stubborn.wait(WAIT_S) == -9


def test_a_process_that_has_ended_is_no_error() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    reaper._end(ended.pid)  # noqa: SLF001  as above
