"""Starts real `fiqa worker` processes with the built-in models, each with its log in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fiqa_process import BUILTIN

ROOT: Final = Path(__file__).parents[1]
ANY_STORAGE: Final = "redis,/,s3://"
STOP_S: Final = 60


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> None:
        """Send SIGTERM. A worker that still runs must end well."""
        is_running = self.process.poll() is None
        self.process.terminate()
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert not is_running or status == 0, self.log


def launch_worker(
    redis_url: str,
    log_file: Path,
    *,
    concurrency: int = 1,
    module: str = "fiqa",
    inside: Sequence[str] = (),
    **environment: Any,
) -> Worker:
    """Start a worker and return at once.

    Args:
        redis_url: its Redis.
        log_file: where its output goes.
        concurrency: its pool processes.
        module: what is run instead of `python -m fiqa`.
        inside: a command that runs the worker's command.
        environment: more variables of its environment.
    """
    variables = {"FIQA_REDIS_URL": redis_url, "FIQA_DRAIN_S": "30", "FIQA_ALLOWED_STORAGES": ANY_STORAGE, **environment}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", module, "worker", "--concurrency", str(concurrency)],
            env={**os.environ, **BUILTIN, **variables},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Worker(process, log_file)
