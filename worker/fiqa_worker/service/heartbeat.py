"""In every worker's main process: tells `fiqa status` that a worker runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.ledger import Ledger

_EVERY_S: Final = 5.0


class Heartbeat(threading.Thread):
    """Beats until the process ends.

    It has a thread of its own: the reconciler may wait for a storage that hangs.
    """

    def __init__(self, ledger: Ledger, *, sleep: Callable[[float], object] = time.sleep) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._ledger = ledger
        self._sleep = sleep

    def run(self) -> None:
        while True:
            with suppress(RedisUnavailableError):  # the reconciler logs it
                self._ledger.heartbeat(seconds=3 * _EVERY_S)
            self._sleep(_EVERY_S)
