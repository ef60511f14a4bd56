"""Clocks that can be set for one process while it runs. clock.c is loaded into the process."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("clock.c")


def build_clock(folder: Path) -> Path:
    """Compile the library. Raises FileNotFoundError if there is no C compiler."""
    library = folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE], check=True)
    return library


class Clock:
    """The time of day of one process and its children."""

    def __init__(self, library: Path, file: Path) -> None:
        self._library = library
        self._file = file
        file.write_bytes(struct.pack("l", 0))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET_FILE": str(self._file)}

    def shift(self, seconds: int) -> None:
        """Set the difference from the true time."""
        with self._file.open("r+b") as file:  # in place, since the processes have mapped this file
            file.write(struct.pack("l", seconds))
