"""The cores: which ones a process may use, how idle each is, and what a process takes.

Only Linux reports all of this. On other systems nothing is pinned, and unknown figures are None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_PROC: Final = Path("/proc")
_IDLE_FIELDS: Final = (3, 4)  # idle and iowait
_FIELDS: Final = 8  # guest time, which follows, is part of user time


def available() -> list[int]:
    """Return the cores that this process may use. Empty if they are not known."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@dataclass(frozen=True, slots=True)
class Plan:
    """Which program runs on which cores. Empty: on any.

    Attributes:
        one: the core of each program with one process.
        two: the cores of a worker with two processes.
        servers: the cores of Redis, S3 and this program.
    """

    one: list[int]
    two: list[int]
    servers: list[int]

    @classmethod
    def make(cls) -> Self:
        """Keep the servers off the core of single processes. With two cores, they share one with the second process."""
        found = available()
        return cls(one=found[-1:], two=found[-2:], servers=found[:-2] or found[:1])

    def __str__(self) -> str:
        named = {"one process": self.one, "two processes": self.two, "servers": self.servers}
        return "; ".join(f"{name}: {', '.join(map(str, those)) or 'any'}" for name, those in named.items())


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Start processes on these cores during the block. Without cores: on any."""
    before = available()
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, before)


def times() -> dict[int, tuple[float, float]]:
    """Return, by core, the idle seconds and all seconds since the machine started."""
    try:
        lines = (_PROC / "stat").read_text().splitlines()
    except OSError:
        return {}
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(field) for field in fields[:_FIELDS]]
            found[int(name.removeprefix("cpu"))] = (sum(ticks[n] for n in _IDLE_FIELDS) / tick, sum(ticks) / tick)
    return found


def idle(before: dict[int, tuple[float, float]], after: dict[int, tuple[float, float]]) -> dict[int, float]:
    """Return, by core, the idle share of the time between two results of `times`."""
    return {
        # Between 0 and 1: iowait may decrease, and floats are not exact.
        core: min(1.0, max(0.0, (after[core][0] - before[core][0]) / max(after[core][1] - before[core][1], 1e-9)))
        for core in sorted(before.keys() & after.keys())
    }


def busy_s(before: dict[int, tuple[float, float]], after: dict[int, tuple[float, float]]) -> float:
    """Return the busy seconds of all cores together."""
    return sum(
        (after[core][1] - before[core][1]) - (after[core][0] - before[core][0]) for core in before.keys() & after.keys()
    )


def descendants(pid: int) -> list[int]:
    """Return a process and all its descendants, itself first."""
    parents = {}
    for folder in _PROC.glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            parents[int(folder.name)] = int(fields[1])
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found


def processor_s(pids: Sequence[int]) -> float:
    """Return the seconds of processor time that these processes have taken."""
    ticks = sum(int(fields[11]) + int(fields[12]) for pid in pids if (fields := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str) -> float | None:
    """Return a process's VmRSS, its memory now, or VmHWM, its peak since `forget_peak`. MB of 1,000,000 bytes."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:")), None)


def forget_peak(pid: int) -> None:
    """Reset the peak, VmHWM."""
    (_PROC / str(pid) / "clear_refs").write_text("5")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third, the state, on. Empty if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
