"""`python -m tests.bench`: speed, side by side; `... parity` and `... local_run` are the other two measurements."""

from __future__ import annotations

import sys
from typing import Final

from tests.bench import local_run, parity, speed

_OTHERS: Final = {"parity": parity.main, "local_run": local_run.main}

if __name__ == "__main__":
    other = _OTHERS.get(sys.argv[1]) if sys.argv[1:] else None
    if other:
        del sys.argv[1]
    (other or speed.main)()
