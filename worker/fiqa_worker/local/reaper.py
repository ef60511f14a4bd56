"""Ends the server and the worker of a `fiqa run` that was killed: not even SIGKILL leaves them behind.

    python -m fiqa_worker.local.reaper FOLDER

Its standard input is a pipe from `fiqa run`, which writes its workers' process ids, one a line. The pipe ends when
`fiqa run` does, however that happens; one that ends well ends this process first.
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

SERVER_PID: Final = "server.pid"  # in the folder, written by the server itself as soon as it starts
_STOP_S: Final = 15
_STARTS_WITHIN_S: Final = 1


def main() -> None:
    (folder,) = sys.argv[1:]
    told = [int(line) for line in sys.stdin]
    server = Path(folder, SERVER_PID)
    if not server.exists():
        time.sleep(_STARTS_WITHIN_S)  # it may have been started a moment ago
    for pid in told:
        _end(pid)
    with suppress(OSError, ValueError):  # there is none
        _end(int(server.read_text()))
    shutil.rmtree(folder, ignore_errors=True)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
