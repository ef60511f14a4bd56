"""The heartbeat of a worker, sent by its main process: it reports that the worker runs, and what it is.

`fiqa status` and `fiqa workers` show this.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from fiqa.contract import SelfTest
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.workers import Workers, WorkerStatus
from fiqa.text import count
from fiqa_worker.pipeline.identity import Identity
from fiqa_worker.settings import WorkerSettings

_EVERY_S: Final = 5.0
# The main process sets it, so that the processes of its pool report problems under the same id.
_ID_VARIABLE: Final = "_FIQA_WORKER_ID"


def machine() -> str:
    """Return the name of this machine.

    If one of its processes cannot read a source, the others cannot read it either.
    """
    return socket.gethostname()


def worker_id() -> str:
    """Return the id of the worker that this process belongs to."""
    return os.environ.get(_ID_VARIABLE, "")


def describe(identity: Identity, self_test: SelfTest, settings: WorkerSettings, *, processes: int) -> WorkerStatus:
    """Describe this worker. Call it in the main process, before the pool starts."""
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
        allowed_sources=settings.allowed_sources,
        fingerprint=identity.fingerprint,
        self_test=self_test,
        processes=processes,
        started=started,
    )


def in_words(worker: WorkerStatus) -> str:
    """Return the description of a worker for its first log line."""
    processes = count(worker.processes, "process", "processes")
    return (
        f"worker {worker.host}:{worker.pid} starts: fiqa {worker.version}, {worker.detector}, {worker.quality_model},"
        f" {worker.device}, {processes}, sources {', '.join(worker.allowed_sources)},"
        f" fingerprint {worker.fingerprint},"
        f" self-test {worker.self_test.verdict}: quality {worker.self_test.quality:.5f},"
        f" confidence {worker.self_test.confidence:.5f}"
    )


class Heartbeat(threading.Thread):
    """Sends a heartbeat every 5 s, until the process ends or takes no more chunks.

    It runs in a separate thread, so that no other work can delay it.
    """

    def __init__(
        self,
        workers: Workers,
        worker: WorkerStatus,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._clock = clock
        self._beaten_at = clock()
        self._workers = workers
        self._worker = worker
        self._sleep = sleep
        self._left = False

    def run(self) -> None:
        while not self._left:
            with suppress(RedisUnavailableError):  # the reconciler logs it
                self._workers.beat(self._worker, seconds=3 * _EVERY_S)
                self._beaten_at = self._clock()
            self._sleep(_EVERY_S)

    @property
    def age_s(self) -> float:
        """Seconds since the last heartbeat that Redis confirmed. Before the first one: since this object exists."""
        return self._clock() - self._beaten_at

    def leave(self) -> None:
        """Stop, and remove this worker from the registry.

        Otherwise other workers would wait until it has tried their chunks.
        """
        self._left = True
        with suppress(RedisUnavailableError):  # it expires
            self._workers.leave(self._worker.id)
