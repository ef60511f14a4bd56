"""Celery's consumer of tickets. After any error of Redis it waits and connects again.

Plain Celery ends the worker at an answer such as READONLY or MISCONF. It is not enough to count such an answer as a
lost connection: Celery would connect again five times a second, since PING works and the next BRPOP is refused. So this
consumer pauses before it connects again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from billiard.exceptions import WorkerLostError
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from fiqa_worker.service.outage import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outage

# Celery writes a line for every attempt to connect.
_CHATTY: Final = logging.getLogger("celery.worker.consumer.consumer")


class PatientConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Connects again after every error of Redis, until the worker is stopped."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._outage = Outage()
        super().__init__(*args, **options)

    def start(self) -> None:
        try:
            super().start()
        except WorkerLostError:
            # A signal ends children that have not blocked it yet. Celery then reports that they could not start.
            maybe_shutdown()
            raise

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        self._outage.report(exc)
        with _quiet():
            super().on_connection_error_after_connected(exc)
        self._outage.wait(maybe_shutdown)

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        # Redis answered PING, and refused what kombu sends next.
        self._outage.report(exc)
        self._outage.wait(maybe_shutdown)

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection(
            lambda error, _: self._outage.report(error),
            interval_start=FIRST_PAUSE_S,
            interval_max=LONGEST_PAUSE_S,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        self._outage.connected()
        return conn


@contextmanager
def _quiet() -> Iterator[None]:
    before = _CHATTY.level
    _CHATTY.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _CHATTY.setLevel(before)
