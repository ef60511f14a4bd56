"""Feeds mutations to the worker's decoder in a process of its own, and notes of each how it ended.

The process is watched: what crashes it or takes too long ends it, is a finding, and the next process goes on behind it.
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
MEMORY_LIMIT_MB: Final = 128  # above what the process holds at rest
TIME_LIMIT_S: Final = 20
MANY: Final = 1000  # mutations a process

_STATUS: Final = Path("/proc/self/status")


@dataclass
class Findings:
    """What came of a corpus.

    Attributes:
        outcomes: how many ended how: `decoded`, or an error code.
        bad: what must not be, one line each.
        peak_mb: the most that one file took above the rest, and which it was; likewise slowest_ms.
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
    """Decode these mutations in processes of their own."""
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
    # Here, so that the parent needs neither OpenCV nor the corpus.
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
    """How one file ends; what begins with `!` must not be."""
    from fiqa_worker.errors import ImageFailure  # noqa: PLC0415  see _run
    from fiqa_worker.pipeline.decode import decode  # noqa: PLC0415

    try:
        image = decode(data, max_pixels=MAX_PIXELS)
    except ImageFailure as failure:
        return "! more than one line" if "\n" in str(failure) else str(failure.code)
    except Exception as error:  # noqa: BLE001  that is what is looked for
        return f"! {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    height, width = image.shape[:2]
    if height * width > MAX_PIXELS:
        return f"! {width} x {height} went through"
    if image.dtype.name != "uint8" or image.shape[2:] != (3,):
        return f"! {image.dtype} {image.shape}"
    return "decoded"


def peak_mb() -> float:
    """The most memory that this process held since `reset_peak_mb`."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def reset_peak_mb() -> float:
    """Forget the peak; returns what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


if __name__ == "__main__":
    faulthandler.enable()
    for _line in _run(int(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3]))):
        sys.stdout.write(_line + "\n")
        sys.stdout.flush()
