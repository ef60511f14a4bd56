"""Ends the server and the worker of a `fiqa run` that was killed: not even SIGKILL leaves them behind.

    python -m fiqa_worker.guard FOLDER PID...

Its standard input is a pipe that ends when `fiqa run` does, however that happens. A clean `fiqa run` ends this process
before that.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import Final

_STOP_S: Final = 15


def main() -> None:
    folder, *pids = sys.argv[1:]
    sys.stdin.buffer.read()
    for pid in map(int, pids):
        _end(pid)
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
