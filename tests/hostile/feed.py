"""Feeds mutations to the worker's decoder in a separate process, and records how each ended.

A file that crashes the process or takes too long is a finding. The next process continues with the file after it.
"""

from __future__ import annotations

import faulthandler
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MAX_PIXELS: Final = 1_000_000
MEMORY_LIMIT_MB: Final = 128  # above what the process holds before it decodes
TIME_LIMIT_S: Final = 20
MANY: Final = 1000  # mutations for each process

_STATUS: Final = Path("/proc/self/status")


@dataclass
class Findings:
    """How the files of a corpus ended.

    Attributes:
        outcomes: the number of files by outcome: `decoded`, or an error code.
        bad: the findings, one line each.
        peak_mb: the most memory that one file took, and the name of that file.
        slowest_ms: the longest time, and the name of that file.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    peak_mb: tuple[float, str] = (0.0, "")
    slowest_ms: tuple[float, str] = (0.0, "")
    seconds: float = 0.0

    @property
    def fed(self) -> int:
        return self.outcomes.total()

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common())
        return "\n".join(
            [
                f"{self.fed} files in {self.seconds:.0f} s: {outcomes}",
                f"most memory: {self.peak_mb[0]:.0f} MB, {self.peak_mb[1]}",
                f"slowest: {self.slowest_ms[0]:.0f} ms, {self.slowest_ms[1]}",
                f"findings: {len(self.bad)}",
                *self.bad,
            ]
        )


def feed(seed: int, numbers: range, *, progress: Callable[[int], None] = lambda _: None) -> Findings:
    """Decode these mutations in separate processes."""
    found = Findings()
    started = time.monotonic()
    position = numbers.start
    while position < numbers.stop:
        stop = min(position + MANY, numbers.stop)
        command = [sys.executable, "-m", "tests.hostile.feed", str(seed), str(position), str(stop)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            output, errors = process.communicate()
        begun = ""
        for line in output.splitlines():
            word, number, *rest = line.split("\t")
            begun = f"{seed} {number} {rest[-1]}"
            position = int(number) + 1
            if word == "ended":
                _note(found, begun, rest)
                begun = ""
        if process.returncode:
            found.outcomes["ended the process"] += 1
            last = [line for line in errors.splitlines() if line.strip()][:3]
            found.bad.append(f"{begun}: ended the process with {process.returncode}: {' | '.join(last)}")
        progress(position - numbers.start)
    found.seconds = time.monotonic() - started
    return found


def _note(found: Findings, name: str, facts: list[str]) -> None:
    outcome, mb, ms = facts[0], float(facts[1]), float(facts[2])
    found.outcomes[outcome] += 1
    found.peak_mb = max(found.peak_mb, (mb, name))
    found.slowest_ms = max(found.slowest_ms, (ms, name))
    if mb > MEMORY_LIMIT_MB:
        found.bad.append(f"{name}: took {mb:.0f} MB")
    if outcome.startswith("!"):
        found.bad.append(f"{name}: {outcome}")


def _run(seed: int, numbers: range) -> Iterator[str]:
    # Imported here: the parent process needs neither OpenCV nor the corpus.
    from tests.hostile.corpus import mutation  # noqa: PLC0415

    for number in numbers:
        name, data = mutation(seed, number)
        yield f"begun\t{number}\t{name}"
        faulthandler.dump_traceback_later(TIME_LIMIT_S, exit=True)
        before = reset_peak_mb()
        started = time.perf_counter()
        outcome = decode_outcome(data)
        ms = (time.perf_counter() - started) * 1000
        faulthandler.cancel_dump_traceback_later()
        yield f"ended\t{number}\t{outcome}\t{peak_mb() - before:.1f}\t{ms:.1f}\t{name}"


def decode_outcome(data: bytes) -> str:
    """Decode one file; returns its outcome. One that starts with `!` is a finding."""
    from fiqa_worker.errors import ImageFailure  # noqa: PLC0415  see _run
    from fiqa_worker.pipeline.decode import decode  # noqa: PLC0415

    try:
        image = decode(data, max_pixels=MAX_PIXELS)
    except ImageFailure as failure:
        return "! more than one line" if "\n" in str(failure) else str(failure.code)
    except Exception as error:  # noqa: BLE001  a finding
        return f"! {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    height, width = image.shape[:2]
    if height * width > MAX_PIXELS:
        return f"! {width} x {height} went through"
    if image.dtype.name != "uint8" or image.shape[2:] != (3,):
        return f"! {image.dtype} {image.shape}"
    return "decoded"


def peak_mb() -> float:
    """Return the most memory that this process held since `reset_peak_mb`."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def reset_peak_mb() -> float:
    """Reset the peak; returns the memory that is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


if __name__ == "__main__":
    faulthandler.enable()
    for _line in _run(int(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3]))):
        sys.stdout.write(_line + "\n")
        sys.stdout.flush()
