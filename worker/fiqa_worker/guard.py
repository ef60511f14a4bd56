"""Ends the server and the worker of a `fiqa run` that was killed: not even SIGKILL leaves them behind.

    python -m fiqa_worker.guard FOLDER

Its standard input is a pipe from `fiqa run`, which writes what it starts, a process id a line. The pipe ends when
`fiqa run` does, however that happens; one that ends well ends this process first.
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
    (folder,) = sys.argv[1:]
    for pid in reversed([int(line) for line in sys.stdin]):
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
