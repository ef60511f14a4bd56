"""How tests wait for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 90


def wait_until(condition: Callable[[], object], tell: Callable[[], str] = str) -> None:
    """Return when the condition holds; after WAIT_S, fail with what `tell` returns."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)
