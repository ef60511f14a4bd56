"""Which processes a run has started."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def started_in(temporary: Path) -> list[str]:
    """Return the processes that use this temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Some servers overwrite their command lines.
            where = os.fsencode((process / "cwd").readlink()) + (process / "environ").read_bytes()
            if os.fsencode(temporary) in where:
                found.append(process.name)
    return found
