"""Progress, live, for people at a terminal."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Column

from fiqa.contract import JobState
from fiqa.ledger.status import JobStatus
from fiqa.results.text import duration


class JobProgress:
    """A progress bar on standard error; its last state stays."""

    def __init__(self) -> None:
        columns = (
            SpinnerColumn(finished_text="●"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[told]}", markup=False),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("starting", total=None, told="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: JobStatus) -> None:
        """Draw this state."""
        self._progress.update(
            self._task,
            description=str(status.state),
            total=status.images or None,
            completed=status.images_done,
            told=summary(status),
        )


def transient_progress(*columns: ProgressColumn) -> Progress:
    """Progress on standard error that leaves nothing behind, and is not there where that is no terminal."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class CountProgress:
    """A number that grows, on standard error, where that is a terminal; it goes away at the end."""

    def __init__(self, what: str) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}", markup=False))
        self._progress = transient_progress(*columns)
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, number: int) -> None:
        """Draw this number."""
        self._progress.update(self._task, completed=number)


def summary(status: JobStatus) -> str:
    """The counts, the pace and what is left, in one line."""
    parts = [f"{status.scored:,} scored", f"{status.no_face:,} no face", f"{status.failed:,} failed"]
    if status.state is JobState.RUNNING and not status.workers_run:
        parts.append("no worker runs: start `fiqa worker`")
    elif status.state is JobState.RUNNING and status.started is None:
        parts.append("waiting for a free worker")
    elif status.images_per_s:
        parts.append(f"{status.images_per_s:,.0f} images/s")
    if status.eta_s is not None:
        parts.append(f"{duration(status.eta_s)} left")
    if problem := status.reason or status.last_error:
        parts.append(problem)
    return ", ".join(parts)
