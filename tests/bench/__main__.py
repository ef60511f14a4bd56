"""`python -m tests.bench`: speed, side by side. With a name first: one of the other measurements."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

# For the processes that load the published models without fiqa, such as the naive worker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from tests.bench import blackhole, bulk, ledger, local_run, memory, parity, reasons, second_look, speed

_OTHERS: Final[dict[str, Callable[[], object]]] = {
    "blackhole": blackhole.main,
    "bulk": bulk.main,
    "ledger": ledger.main,
    "local_run": local_run.main,
    "memory": memory.main,
    "parity": parity.main,
    "reasons": reasons.main,
    "second_look": second_look.main,
}

if __name__ == "__main__":
    other = _OTHERS.get(sys.argv[1]) if sys.argv[1:] else None
    if other:
        del sys.argv[1]
    (other or speed.main)()
