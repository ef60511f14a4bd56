"""Live progress on standard error, for people at a terminal."""

from __future__ import annotations

import sys
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Column

from fiqa.cli.failures import report_failures, report_too_many
from fiqa.cli.output import exit_status, status_as_json
from fiqa.client import Client
from fiqa.contract import JobState
from fiqa.ledger.status import JobStatus
from fiqa.results.text import duration


def follow(client: Client, job_id: str, *, as_json: bool = False) -> int:
    """Show a job's progress until it is finished, and report its failures.

    Args:
        client: of the job's Redis.
        job_id: the job.
        as_json: print a JSON line on standard output whenever the status changes, instead of a bar.

    Returns:
        The exit status of the command.
    """
    try:
        found = _print_changes(client, job_id) if as_json else _show(client, job_id)
    except KeyboardInterrupt as error:
        error.add_note(
            f"job {job_id} continues: `fiqa watch {job_id}` follows it again, `fiqa cancel {job_id}` stops it for good"
        )
        raise
    if not as_json:
        report_failures(found, f"`fiqa results {job_id} --status failed` says why")
    report_too_many(client, found)
    return exit_status(found)


def _show(client: Client, job_id: str) -> JobStatus:
    with JobProgress() as progress:
        for found in client.watch(job_id):
            progress.show(found)
    return found


def _print_changes(client: Client, job_id: str) -> JobStatus:
    printed = None
    for found in client.watch(job_id):
        changing = (found.state, found.images_done, found.last_error, found.reason)
        if changing != printed:
            click.echo(status_as_json(found))
            sys.stdout.flush()
        printed = changing
    return found


class JobProgress:
    """A job's progress bar. Its last state stays on the screen."""

    def __init__(self) -> None:
        columns = (
            SpinnerColumn(finished_text="●"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[summary]}", markup=False),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("starting", total=None, summary="")

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
            summary=summary(status),
        )


class CountProgress:
    """A number that grows. It disappears at the end, and is not shown if standard error is not a terminal."""

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


def transient_progress(*columns: ProgressColumn) -> Progress:
    """Return a progress display that disappears at the end, and is not shown if standard error is not a terminal."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def summary(status: JobStatus) -> str:
    """Return a job's counts, its pace and the time left, on one line."""
    parts = [f"{status.scored:,} scored", f"{status.no_face:,} no face", f"{status.failed:,} failed"]
    if status.state is JobState.RUNNING and not status.workers_run:
        parts.append("no worker runs: start `fiqa worker`")
    elif status.state is JobState.RUNNING and status.workers_unfit:
        parts.append(
            f"{status.workers_unfit:,} workers do not fit: the job's scores are of other models, settings or version"
            f" ({status.fingerprint}): `fiqa workers` shows theirs"
        )
    elif status.state is JobState.RUNNING and status.started is None:
        parts.append("waiting for a free worker")
    elif status.images_per_s:
        parts.append(f"{status.images_per_s:,.0f} images/s")
    if status.eta_s is not None:
        parts.append(f"{duration(status.eta_s)} left")
    if problem := status.reason or status.last_error:
        parts.append(problem)
    return ", ".join(parts)
