"""A Redis that a test can stop and start, and signal handlers that are restored after a test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from celery.worker import state

from fiqa_worker.service.drain import SIGNALS
from tests.servers import free_ports, start_redis


class StoppableRedis:
    """A server on a fixed port. Its data survives a restart."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._port = free_ports(1)
        self._running = ExitStack()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        kept = {"appendonly": "yes", "appendfsync": "always"}
        self._running.enter_context(start_redis(self._folder, kept, self._port))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def stoppable_redis(tmp_path: Path) -> Iterator[StoppableRedis]:
    """A running server for this test only."""
    server = StoppableRedis(tmp_path / "stoppable")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def signals() -> Iterator[None]:
    """At the end, restore the signal handlers, the signal mask and Celery's state."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    while signal.sigtimedwait(SIGNALS, 0):
        pass
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    state.should_stop = None
