"""`python -m tests.bench`: speed, side by side; with a name first, one of the other measurements."""

from __future__ import annotations

import sys
from typing import Final

from tests.bench import bulk, local_run, memory, parity, speed

_OTHERS: Final = {"bulk": bulk.main, "local_run": local_run.main, "memory": memory.main, "parity": parity.main}

if __name__ == "__main__":
    other = _OTHERS.get(sys.argv[1]) if sys.argv[1:] else None
    if other:
        del sys.argv[1]
    (other or speed.main)()
