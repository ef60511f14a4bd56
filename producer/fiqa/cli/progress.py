"""Live progress on standard error, for people at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, Self, TextIO

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from fiqa.cli.failures import report_failures, report_too_many
from fiqa.cli.messages import report_line
from fiqa.cli.output import exit_status, status_as_json
from fiqa.cli.status_line import drawn, one_line
from fiqa.client import Client
from fiqa.ledger.status import JobStatus

_LINE_EVERY_S: Final = 10.0


def follow(client: Client, job_id: str, *, as_json: bool = False) -> int:
    """Show a job's progress until it is finished, and report its failures.

    Args:
        client: a client of the job's Redis.
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
    """A job's progress on standard error. Its last state stays there.

    On a terminal it is a bar. Elsewhere, as in a file or a CI log, it is a line every 10 s.
    """

    def __init__(self, *, live: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Create it. Nothing is drawn yet.

        Args:
            live: False prints lines on a terminal too. Use it if other output goes to the same terminal.
            clock: a function like time.monotonic.
        """
        console = Console(stderr=True)
        self._clock = clock
        self._status: JobStatus | None = None
        self._printed: JobStatus | None = None
        self._next_line = clock() + _LINE_EVERY_S
        self._spinner = Spinner("dots")
        # The encoding is read now: while rich draws, it replaces standard error by a stream without an encoding.
        self._is_utf8 = _is_utf8(sys.stderr)
        self._live = (
            Live(console=console, get_renderable=lambda: self._drawn(console.width), redirect_stdout=False)
            if live and console.is_terminal and not console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        elif self._status and self._status is not self._printed:
            self._print(self._status)

    def show(self, status: JobStatus) -> None:
        """Draw this state, or print it if the next line is due."""
        self._status = status
        if not self._live and self._clock() >= self._next_line:
            self._print(status)

    def _print(self, status: JobStatus) -> None:
        report_line(one_line(status))
        self._printed = status
        self._next_line = self._clock() + _LINE_EVERY_S

    def _drawn(self, width: int) -> Group:
        mark = "●" if self._status and self._status.is_finished else str(self._spinner.render(time.monotonic()))
        if not self._is_utf8:
            mark = "*"
        # Text, so that rich neither reads brackets in a reason as markup nor colors the numbers.
        first, *others = drawn(self._status, width - 2, has_bar=self._is_utf8) if self._status else ["starting"]
        return Group(Text(f"{mark} {first}", overflow="ellipsis", no_wrap=True), *map(Text, others))


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


def _is_utf8(stream: TextIO) -> bool:
    return stream.encoding.lower().startswith("utf")
