"""What commands report on standard error: errors, and bad lines of a source."""

from __future__ import annotations

from typing import Final

import click

from fiqa.errors import SourceError
from fiqa.results.text import shown
from fiqa.sources.left_out import LeftOut

_BAD_LINES_SHOWN: Final = 20


def report_error(error: Exception) -> None:
    """Print an error, the log that it carries, and its notes. Each is on a line of its own."""
    click.echo(f"fiqa: {shown(str(error))}", err=True)
    for line in getattr(error, "log", ()):
        click.echo(shown(line), err=True)
    report_notes(error)


def report_notes(error: BaseException | None) -> None:
    """Print the notes that were added to an error, such as what is left behind and what to do with it."""
    for note in getattr(error, "__notes__", ()):
        click.echo(f"fiqa: {shown(str(note))}", err=True)


class LostShards:
    """Reports the lost result shards of a job: the first 20 one by one, and at the end how many there were."""

    def __init__(self) -> None:
        self.found = 0

    def __call__(self, error: Exception) -> None:
        self.found += 1
        if self.found <= _BAD_LINES_SHOWN:
            report_error(error)

    def report_rest(self, job_id: str) -> None:
        """If shards are lost, print how many, and what to do."""
        if self.found:
            shards = "1 shard is" if self.found == 1 else f"{self.found:,} shards are"
            advice = f"run `fiqa repair {job_id}` to recreate lost ones"
            click.echo(f"fiqa: {shards} lost, all others are complete: {advice}", err=True)


class BadLines:
    """Reports the bad lines of a source: the first 20 one by one, and at the end how many there were.

    With `strict` the first one is raised instead.

    Attributes:
        left_out: counts what the source leaves out, to be reported at the end too.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.left_out = LeftOut()
        self._strict = strict
        self._found = 0

    def __call__(self, error: SourceError) -> None:
        if self._strict:
            raise error
        self._found += 1
        if self._found <= _BAD_LINES_SHOWN:
            report_error(error)

    def report_rest(self) -> None:
        """Print how many bad lines there were, if not all were printed, and what was left out. Call it at the end."""
        if self._found > _BAD_LINES_SHOWN:
            click.echo(f"fiqa: {self._found:,} bad lines in all, the first {_BAD_LINES_SHOWN} are above", err=True)
        if self.left_out.counts:
            click.echo(f"left out: {shown(str(self.left_out))}", err=True)
