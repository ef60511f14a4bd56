"""An outage: a time in which Redis cannot be reached, or refuses commands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
# A worker connects again at most this long after Redis is back. A thousand workers try 125 times a second, a small load
# for Redis.
LONGEST_PAUSE_S: Final = 8.0
# Kombu asks for a ticket every second. So a connection that lasted this long has worked, and an error after that begins
# a new outage.
_SOUND_AFTER_S: Final = 3.0
_STEP_S: Final = 0.5


class Outage:
    """The time from the first error of Redis to a connection that works.

    It writes one log line, and pauses longer each time.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._pause_s = FIRST_PAUSE_S
        self._reported: str | None = None
        self._connected: float | None = None

    def end(self) -> None:
        """End the outage. Call this when Redis has executed a command."""
        self._pause_s, self._reported = FIRST_PAUSE_S, None

    def report(self, error: BaseException) -> None:
        """Log an error, unless the last line of this outage had the same text."""
        if self._connected is not None and self._clock() - self._connected > _SOUND_AFTER_S:
            self.end()
        self._connected = None
        text = str(error) or type(error).__name__
        if text != self._reported:
            _log.warning("Redis is unavailable, retrying: %s", text)
            self._reported = text

    def wait(self, is_over: Callable[[], object]) -> None:
        """Pause before the next attempt.

        Each pause is twice as long as the last one, up to 8 s. It ends early if `is_over` returns true or raises.
        """
        for _ in range(int(self._pause_s / _STEP_S)):
            if is_over():
                break
            self._sleep(_STEP_S)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def connected(self) -> None:
        """Call this when Redis is connected. The first command may show that the outage is not over."""
        self._connected = self._clock()
