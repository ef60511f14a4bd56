"""The progress of a job as text: on one line, or fitted to the width of a terminal."""

from __future__ import annotations

from typing import Final

from fiqa.contract import JobState
from fiqa.ledger.status import JobStatus
from fiqa.text import count, duration, shown

_BAR_WIDTH: Final = 16


def summary(status: JobStatus) -> str:
    """Return a job's counts, its pace, the time left, and its problems, on one line."""
    return ", ".join([*_counts(status).values(), *_problems(status)])


def one_line(status: JobStatus) -> str:
    """Return the state, the share that is done, and the summary."""
    return f"{_head(status)}: {summary(status)}"


def drawn(status: JobStatus, width: int, *, has_bar: bool = True) -> list[str]:
    """Return the lines to draw on a terminal.

    If the width is too small, the bar is left out first, then the counts, from the least to the most important. Each
    problem of the job has a separate line: it may be long, and it is the most important part.

    Args:
        status: the status of the job.
        width: the width of the first line, in characters.
        has_bar: False if the terminal has no characters for a bar.
    """
    head, counts = _head(status), _counts(status)
    lines = [f"{head}  {f'{_bar(status)}  ' if has_bar else ''}{', '.join(counts.values())}"]
    while len(lines[0]) > width and counts:
        lines = [f"{head}  {', '.join(counts.values())}"]
        if len(lines[0]) > width:
            # The names are ordered from the least to the most important count.
            del counts[next(name for name in ("no face", "scored", "pace", "left", "failed") if name in counts)]
    if len(lines[0]) > width:
        lines = [head]
    return lines + _problems(status)


def _head(status: JobStatus) -> str:
    # Rounded down, so that 100 % means all images.
    share = f" {100 * status.images_done // status.images} % " if status.images else " "
    return f"{status.state}{share}{status.images_done:,}/{status.images:,}"


def _bar(status: JobStatus) -> str:
    full = _BAR_WIDTH * status.images_done // max(status.images, 1)
    return "━" * full + "─" * (_BAR_WIDTH - full)


def _counts(status: JobStatus) -> dict[str, str]:
    found = {
        "scored": f"{status.scored:,} scored",
        "no face": f"{status.no_face:,} no face",
        "failed": f"{status.failed:,} failed",
    }
    if status.images_per_s and not _waits(status):
        found["pace"] = f"{count(round(status.images_per_s), 'image')}/s"
    if status.eta_s is not None:
        found["left"] = f"{duration(status.eta_s)} left"
    return found


def _problems(status: JobStatus) -> list[str]:
    problems = (_waits(status), status.reason or status.last_error)
    return [shown(problem) for problem in problems if problem]


def _waits(status: JobStatus) -> str | None:
    """Return what a running job waits for."""
    if status.state is not JobState.RUNNING:
        return None
    if not status.workers_run:
        return "no worker runs: start `fiqa worker`"
    if status.workers_unfit:
        unfit = count(status.workers_unfit, "worker runs", "workers run")
        return (
            f"{unfit}, but with other models, settings or version than the job's"
            f" ({status.fingerprint}): see `fiqa workers`"
        )
    return "waiting for a free worker" if status.started is None else None
