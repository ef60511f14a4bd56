"""What commands report on standard error: errors, and bad lines of a source."""

from __future__ import annotations

from typing import Final

import click

from fiqa.errors import SourceError
from fiqa.sources.left_out import LeftOut
from fiqa.text import count, shown

_BAD_LINES_SHOWN: Final = 20


def report_line(text: str) -> None:
    """Print a line on standard error. Every message of a command goes through here: `shown` makes it harmless."""
    click.echo(shown(text), err=True)


def report_error(error: Exception) -> None:
    """Print an error, the log that it carries, and its notes, each on a separate line."""
    report_line(f"fiqa: {error}")
    for line in getattr(error, "log", ()):
        report_line(line)
    report_notes(error)


def report_notes(error: BaseException | None) -> None:
    """Print the notes that were added to an error, such as what is left behind and what to do with it."""
    for note in getattr(error, "__notes__", ()):
        report_line(f"fiqa: {note}")


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
            shards = count(self.found, "shard is", "shards are")
            advice = f"run `fiqa repair {job_id}` to recreate lost ones"
            report_line(f"fiqa: {shards} lost, all others are complete: {advice}")


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
            report_line(f"fiqa: {self._found:,} bad lines in all, the first {_BAD_LINES_SHOWN} are above")
        if self.left_out.counts:
            report_line(f"left out: {self.left_out}")
