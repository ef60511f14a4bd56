"""A time in which Redis does not do what is asked: it is away, or it is up and refuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
# So soon is a worker back. A thousand workers ask 125 times a second, which is nothing to Redis.
LONGEST_PAUSE_S: Final = 8.0
# A connection that was used for so long was sound, since kombu asks for a ticket every second. What breaks it is a new
# outage.
_SOUND_AFTER_S: Final = 3.0
_STEP_S: Final = 0.5


class Outage:
    """The time from the first error of Redis to a sound connection: one line in the log, and growing pauses."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._pause_s = FIRST_PAUSE_S
        self._reported: str | None = None
        self._connected: float | None = None

    def end(self) -> None:
        """Call this when Redis has done what was asked."""
        self._pause_s, self._reported = FIRST_PAUSE_S, None

    def report(self, error: BaseException) -> None:
        """Write a line, unless this outage's last line said the same."""
        if self._connected is not None and self._clock() - self._connected > _SOUND_AFTER_S:
            self.end()
        self._connected = None
        text = str(error) or type(error).__name__
        if text != self._reported:
            _log.warning("Redis is unavailable, retrying: %s", text)
            self._reported = text

    def wait(self, is_over: Callable[[], object]) -> None:
        """Pause before the next attempt, twice as long as before. It ends early if `is_over` is true, or raises."""
        for _ in range(int(self._pause_s / _STEP_S)):
            if is_over():
                break
            self._sleep(_STEP_S)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def connected(self) -> None:
        """Call this when there is a connection. Its first use may show that the outage is not over."""
        self._connected = self._clock()
