"""In every worker's main process: what this worker is, for `fiqa status` and `fiqa workers`, and that it runs."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.workers import Workers, WorkerStatus
from fiqa_worker.pipeline.identity import Identity
from fiqa_worker.settings import WorkerSettings

_EVERY_S: Final = 5.0
# The main process sets it, so that its pool reports problems under the same id.
_ID_VARIABLE: Final = "_FIQA_WORKER_ID"


def machine() -> str:
    """Return the name of this machine. What one of its processes cannot read, the others cannot read either."""
    return socket.gethostname()


def worker_id() -> str:
    """Return the id of the worker that this process belongs to."""
    return os.environ.get(_ID_VARIABLE, "")


def describe(identity: Identity, settings: WorkerSettings, *, processes: int) -> WorkerStatus:
    """Return what this worker is. Call it in the main process, before the pool starts."""
    started = time.time()
    os.environ[_ID_VARIABLE] = f"{machine()}:{os.getpid()}:{started:.0f}"
    return WorkerStatus(
        id=worker_id(),
        host=machine(),
        pid=os.getpid(),
        version=version("fiqa"),
        detector=identity.detector,
        quality_model=identity.quality_model,
        device=identity.device,
        allowed_sources=tuple(re.sub(r"//[^/@]*@", "//", source) for source in settings.allowed_sources),
        fingerprint=identity.fingerprint,
        processes=processes,
        started=started,
    )


def in_words(worker: WorkerStatus) -> str:
    """Return what a worker is, for its first log line."""
    return (
        f"worker {worker.host}:{worker.pid} starts: fiqa {worker.version}, {worker.detector}, {worker.quality_model},"
        f" {worker.device}, {worker.processes} processes, sources {', '.join(worker.allowed_sources)},"
        f" fingerprint {worker.fingerprint}"
    )


class Heartbeat(threading.Thread):
    """Beats until the process ends, or takes no more chunks.

    It has a thread of its own: the reconciler may wait for a storage that hangs.
    """

    def __init__(
        self, workers: Workers, worker: WorkerStatus, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._workers = workers
        self._worker = worker
        self._sleep = sleep
        self._left = False

    def run(self) -> None:
        while not self._left:
            with suppress(RedisUnavailableError):  # the reconciler logs it
                self._workers.beat(self._worker, seconds=3 * _EVERY_S)
            self._sleep(_EVERY_S)

    def leave(self) -> None:
        """Stop, and take this worker out of the registry: other workers must not wait for its opinion."""
        self._left = True
        with suppress(RedisUnavailableError):  # it expires
            self._workers.leave(self._worker.id)
