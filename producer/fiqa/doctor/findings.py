"""The findings of checks, and how checks run: in parallel, each with a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fiqa.errors import FiqaError

# Redis and S3 have 5 s for a connection. A check waits for one of them at a time.
LIMIT_S: Final = 8.0


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table.

    Attributes:
        check: what was looked at, such as `persistence`.
        state: ok; warning: it works, with a risk; wrong: something fails; skipped: it could not be checked.
        text: what was found. If the state is a warning or wrong, also what to do.
    """

    check: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """A function that looks at a part of the setup.

    Attributes:
        name: the name of the finding, if the function raises an error or does not return in time.
        find: returns the findings. It may raise any error.
        if_late: what to do if it does not return in time.
        limit_s: how long it may take.
    """

    name: str
    find: Callable[[], Iterable[Finding]]
    if_late: str
    limit_s: float = LIMIT_S


def examine(checks: Sequence[Check]) -> list[Finding]:
    """Run all checks at once, and return their findings in the order of the checks.

    A check that does not return in time is left behind in its thread, which ends with the process.
    """
    found: dict[int, list[Finding]] = {}

    def run(index: int, check: Check) -> None:
        found[index] = _findings_of(check)

    started = time.monotonic()
    # Not a pool: the interpreter would wait for its threads when it ends.
    threads = [
        threading.Thread(target=run, args=(index, check), name=check.name, daemon=True)
        for index, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    findings = []
    for index, (check, thread) in enumerate(zip(checks, threads, strict=True)):
        thread.join(max(0.0, started + check.limit_s - time.monotonic()))
        late = Finding(check.name, State.WRONG, f"no answer within {check.limit_s:g} s: {check.if_late}")
        findings += found.get(index, [late])
    return findings


def _findings_of(check: Check) -> list[Finding]:
    try:
        return list(check.find())
    except FiqaError as error:
        return [Finding(check.name, State.WRONG, str(error))]
    except Exception as error:  # noqa: BLE001  one check that fails must not hide what the others found
        text = " ".join(str(error).split())
        return [Finding(check.name, State.WRONG, f"the check failed: {type(error).__name__}: {text}: report this")]
