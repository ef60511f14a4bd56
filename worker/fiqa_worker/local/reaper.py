"""Ends the server and the worker of a `fiqa run` that was killed, even by SIGKILL.

    python -m fiqa_worker.local.reaper FOLDER SOCKET_FOLDER

Its standard input is a pipe from `fiqa run`. `fiqa run` writes the process ids of its workers, one per line. When
`fiqa run` ends for any reason, the pipe closes. If `fiqa run` ends normally, it kills this process first.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

SERVER_PID: Final = "server.pid"  # a file in the folder; the server writes it as soon as it starts
_STOP_S: Final = 15
_STARTS_WITHIN_S: Final = 1


def main() -> None:
    folder, socket_folder = sys.argv[1:]
    worker_pids = [int(line) for line in sys.stdin]
    server = Path(folder, SERVER_PID)
    if not server.exists():
        time.sleep(_STARTS_WITHIN_S)  # the server may just be starting
    for pid in worker_pids:
        _end(pid)
    with suppress(OSError, ValueError):  # there is no server
        _end(int(server.read_text()))
    for unused in (folder, socket_folder):
        shutil.rmtree(unused, ignore_errors=True)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):  # the process has ended
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
