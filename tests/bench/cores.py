"""What the machine does meanwhile: which cores a process may use, how idle each is, and what a process takes.

Linux tells all of it; elsewhere nothing is pinned, and what is not known is None.
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
    """The cores of this process; empty where that is not known."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@dataclass(frozen=True, slots=True)
class Plan:
    """Who runs on which cores; empty: wherever the system likes.

    Attributes:
        one: of everything that has one process.
        two: of a worker with two processes.
        servers: Redis, S3 and this program.
    """

    one: list[int]
    two: list[int]
    servers: list[int]

    @classmethod
    def make(cls) -> Self:
        """The servers stay off the core of single processes; with two cores they share one with the second process."""
        found = available()
        return cls(one=found[-1:], two=found[-2:], servers=found[:-2] or found[:1])

    def __str__(self) -> str:
        named = {"one process": self.one, "two processes": self.two, "servers": self.servers}
        return "; ".join(f"{name}: {', '.join(map(str, those)) or 'any'}" for name, those in named.items())


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Processes started in the block run on these cores; no cores: wherever they like."""
    before = available()
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, before)


def times() -> dict[int, tuple[float, float]]:
    """Each core's idle seconds and all its seconds since the start."""
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
    """The share of the time between two answers of `times` in which each core did nothing."""
    return {
        # Within 0 and 1: iowait may go back, and floats are not exact.
        core: min(1.0, max(0.0, (after[core][0] - before[core][0]) / max(after[core][1] - before[core][1], 1e-9)))
        for core in sorted(before.keys() & after.keys())
    }


def busy_s(before: dict[int, tuple[float, float]], after: dict[int, tuple[float, float]]) -> float:
    """The seconds of all cores together in which they did something."""
    return sum(
        (after[core][1] - before[core][1]) - (after[core][0] - before[core][0]) for core in before.keys() & after.keys()
    )


def descendants(pid: int) -> list[int]:
    """A process and all that it started, itself first."""
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
    """Seconds of processor time that these took so far."""
    ticks = sum(int(fields[11]) + int(fields[12]) for pid in pids if (fields := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str) -> float | None:
    """VmRSS, what a process holds now, or VmHWM, the most it held since `forget_peak`; in MB of 1,000,000 bytes."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:")), None)


def forget_peak(pid: int) -> None:
    """Count VmHWM from here on."""
    (_PROC / str(pid) / "clear_refs").write_text("5")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; empty where there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
