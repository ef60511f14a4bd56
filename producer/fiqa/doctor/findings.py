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

    What a check found before an error, or before its time was over, is kept. A check that does not return in time is
    left behind in its thread, which ends with the process.
    """
    found: list[list[Finding]] = [[] for _ in checks]
    started = time.monotonic()
    # Not a pool: the interpreter would wait for its threads when it ends.
    threads = [
        threading.Thread(target=_run, args=(check, findings), name=check.name, daemon=True)
        for check, findings in zip(checks, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    result = []
    for check, findings, thread in zip(checks, found, threads, strict=True):
        thread.join(max(0.0, started + check.limit_s - time.monotonic()))
        is_late = thread.is_alive()
        result += list(findings)  # a copy: a late check may still add to it
        if is_late:
            result.append(Finding(check.name, State.WRONG, f"no answer within {check.limit_s:g} s: {check.if_late}"))
    return result


def _run(check: Check, findings: list[Finding]) -> None:
    """Add what a check finds to `findings`, as it comes."""
    try:
        for finding in check.find():
            findings.append(finding)  # noqa: PERF402  extend() would lose what comes before an error
    except FiqaError as error:
        findings.append(Finding(check.name, State.WRONG, str(error)))
    except Exception as error:  # noqa: BLE001  one check that fails must not hide what the others found
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        findings.append(Finding(check.name, State.WRONG, f"the check failed: {text}: report this"))
