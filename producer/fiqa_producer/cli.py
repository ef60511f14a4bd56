"""The `fiqa` command: the client's part of it; the worker's commands join through an entry-point group.

Machine-readable output goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fiqa_producer.client import Client
from fiqa_producer.contract import JobState, Priority
from fiqa_producer.errors import FiqaError, SettingsError, SourceError
from fiqa_producer.manifest import read
from fiqa_producer.progress import JobProgress, duration, summary
from fiqa_producer.status import JobStatus

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class _Commands(click.Group):
    """The client's commands and, loaded when one is called, those that other packages enter."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_entered()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in _entered():
            return own
        command: click.Command = _entered()[cmd_name].load()
        return command


def _entered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="fiqa.commands")}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fiqa")
def fiqa() -> None:
    """Face image quality at scale: bulk jobs of photos in, one result an image out.

    Settings come from FIQA_* in the environment: FIQA_REDIS_URL, FIQA_HOME and, for workers, those README lists.
    S3 settings are boto3's own.
    """


def main() -> NoReturn:
    """Run `fiqa`, with one line instead of a traceback for all that is raised on purpose."""
    try:
        status = fiqa.main(standalone_mode=False)
        sys.stdout.flush()
    except FiqaError as error:
        click.echo(f"fiqa: {error}", err=True)
        sys.exit(WRONG_USAGE if isinstance(error, (SettingsError, SourceError)) else FAILED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("fiqa: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(status)


def warn(error: Exception) -> None:
    """Tell of something that does not stop the command."""
    click.echo(f"fiqa: {error}", err=True)


@fiqa.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--name", help="A name for people.")
@click.option("--priority", type=click.Choice([*map(str, Priority)]), default="normal", show_default=True)
@click.option("--chunk-size", type=click.IntRange(1, 10_000), help="Images a chunk [default: grows from 16 to 256].")
@click.option("--wait", is_flag=True, help="Follow the job; exit status 0 if it succeeded, else 1.")
def submit(source: tuple[str, ...], name: str | None, priority: str, chunk_size: int | None, *, wait: bool) -> int:
    """Enqueue a job and print its id.

    SOURCE: a folder (recursive), an image, an s3://bucket/prefix/, a list of URIs (.txt), a .jsonl with `uri` or
    `source-ref` (and `id`), each also .gz, or - for a list on standard input.
    """
    with Client() as client:
        items = read(source, on_bad_line=warn)
        job = client.submit(items, name=name, priority=priority, chunk_size=chunk_size)
        click.echo(job.id)
        click.echo(f"{job.images:,} images in {job.chunks:,} chunks", err=True)
        return _follow(client, job.id) if wait else 0


@fiqa.command()
@click.argument("job")
def watch(job: str) -> int:
    """Follow a job with a progress bar; exit status 0 if it succeeds, else 1."""
    with Client() as client:
        client.status(job)  # before a bar is drawn: a wrong id is one line and nothing else
        return _follow(client, job)


@fiqa.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(job: str, *, as_json: bool) -> None:
    """Show how far a job is."""
    with Client() as client:
        found = client.status(job)
    if as_json:
        click.echo(json.dumps(_status_fields(found)))
        return

    table = Table.grid(padding=(0, 2))
    rows = {
        "job": found.id + (f"  {found.name}" if found.name else ""),
        "state": str(found.state),
        "images": f"{found.images_done:,} of {found.images:,}: {summary(found)}",
        "faces": f"{found.faces:,}",
        "chunks": f"{found.chunks_done:,} of {found.chunks:,}",
        "failed": ", ".join(f"{count:,} {code}" for code, count in found.failed_by_code.items()) or "none",
        "home": found.home,
        "created": _local_time(found.created),
        "took": duration(found.finished - found.started) if found.started and found.finished else "-",
    }
    for label, text in rows.items():
        table.add_row(Text(label, "dim"), Text(text))
    Console().print(table)


@fiqa.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line a job.")
def jobs(limit: int, *, as_json: bool) -> None:
    """List the newest jobs."""
    with Client() as client:
        found = client.jobs(limit=limit)
    if as_json:
        for job in found:
            click.echo(json.dumps(_status_fields(job)))
        return

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("job", "name", "state", "created"):
        table.add_column(column, no_wrap=True)
    for column in ("images", "done", "scored", "no face", "failed", "images/s"):
        table.add_column(column, justify="right")
    for job in found:
        counts = (job.images, job.images_done, job.scored, job.no_face, job.failed, round(job.images_per_s or 0))
        table.add_row(
            job.id, Text(job.name or ""), str(job.state), _local_time(job.created), *(f"{count:,}" for count in counts)
        )
    # As wide as it is: rich would cut numbers to fit a narrow terminal or, in a pipe, 80 columns.
    Console(width=Console(width=10_000).measure(table).maximum).print(table)


@fiqa.command()
@click.argument("job")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file [default: stdout].")
def results(job: str, output: Path | None) -> None:
    """Write the results that are there by now, one JSON line an image."""
    with Client() as client:
        client.status(job)  # before the output is opened: a wrong id must not empty a file that is there
        written = write_shards(output, client.result_shards(job))
    if output is not None:
        click.echo(f"{written:,} results in {output}", err=True)


def write_shards(output: Path | None, shards: Iterable[list[bytes]]) -> int:
    """Write JSON lines to a file, or to standard output, as they come; returns how many.

    Raises:
        SettingsError: the file cannot be written.
    """
    written = 0
    try:
        with output.open("wb") if output else nullcontext(sys.stdout.buffer) as file:
            for lines in shards:
                file.writelines(line + b"\n" for line in lines)
                file.flush()
                written += len(lines)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SettingsError(f"cannot write {output or 'standard output'}: {error.strerror}") from error
    return written


def _follow(client: Client, job_id: str) -> int:
    with JobProgress() as progress:
        for found in client.watch(job_id):
            progress.show(found)
    return exit_status(found)


def exit_status(status: JobStatus) -> int:
    """0: the job succeeded; 1: it did not."""
    return 0 if status.state is JobState.SUCCEEDED else FAILED


def _status_fields(status: JobStatus) -> dict[str, Any]:
    return dataclasses.asdict(status)


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
