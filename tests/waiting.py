"""Waits for other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 90


def wait_until(condition: Callable[[], object], message: Callable[[], str] = str) -> None:
    """Return when the condition holds. Fail with this message if it does not hold within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.02)
