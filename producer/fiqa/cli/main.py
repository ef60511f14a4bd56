"""The `fiqa` command: the client's part of it; the worker's commands join through an entry-point group.

Machine-readable output goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import IO, Final, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fiqa.cli import jobs as controls
from fiqa.cli.jobs import as_json, local_time, show_job, status_line
from fiqa.cli.progress import CountProgress, JobProgress
from fiqa.client import Client
from fiqa.contract import DEFAULT_KEEP_S, DEFAULT_MAX_FAILED, MAX_CHUNK_SIZE, JobState, Priority, Status
from fiqa.errors import FiqaError, SettingsError, SourceError
from fiqa.ledger.status import JobStatus
from fiqa.results.export import Format, Selection, import_pyarrow, write
from fiqa.sources.manifest import read

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_BAD_LINES_SHOWN: Final = 20
_DAY_S: Final = 24 * 3600.0


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

    Settings come from FIQA_* in the environment: FIQA_REDIS_URL, FIQA_STORAGE and, for workers, those README lists.
    S3 settings are boto3's own.
    """


def main() -> NoReturn:
    """Run `fiqa`, with one line instead of a traceback for all that is raised on purpose."""
    try:
        status = fiqa.main(standalone_mode=False)
        sys.stdout.flush()
    except FiqaError as error:
        _tell(error)
        sys.exit(WRONG_USAGE if isinstance(error, (SettingsError, SourceError)) else FAILED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo("fiqa: interrupted", err=True)
        _tell_notes(error if isinstance(error, KeyboardInterrupt) else error.__context__)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(status)


def _tell(error: Exception) -> None:
    click.echo(f"fiqa: {error}", err=True)
    _tell_notes(error)


def _tell_notes(error: BaseException | None) -> None:
    """Say what was added to an error on its way: what is left behind, and what to do with it."""
    for note in getattr(error, "__notes__", ()):
        click.echo(f"fiqa: {note}", err=True)


class BadLines:
    """Tells of the lines of a source that are no items: the first of them each, the rest as a number.

    With `strict` the first one is raised.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._found = 0

    def __call__(self, error: SourceError) -> None:
        if self._strict:
            raise error
        self._found += 1
        if self._found <= _BAD_LINES_SHOWN:
            _tell(error)

    def tell_rest(self) -> None:
        """To be called at the end."""
        if self._found > _BAD_LINES_SHOWN:
            click.echo(f"fiqa: {self._found:,} bad lines in all, the first {_BAD_LINES_SHOWN} are above", err=True)


results_output = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    callback=lambda _context, _option, path: None if path == Path("-") else path,
    help="A .jsonl, .csv or .parquet file [default: -, standard output].",
)


for _command in (
    controls.status,
    controls.pause,
    controls.resume,
    controls.cancel,
    controls.delete,
    controls.retry,
    controls.recover,
):
    fiqa.add_command(_command)


@fiqa.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--name", help="A name for people.")
@click.option("--priority", type=click.Choice([*map(str, Priority)]), default="normal", show_default=True)
@click.option(
    "--chunk-size", type=click.IntRange(1, MAX_CHUNK_SIZE), help="Images a chunk [default: grows from 16 to 256]."
)
@click.option("--strict", is_flag=True, help="Take no job with a bad line in its source.")
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    default=DEFAULT_MAX_FAILED,
    show_default=True,
    help="Stop the job when more than this share of at least 1,000 images failed; 1 never stops it.",
)
@click.option(
    "--keep-days",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_KEEP_S / _DAY_S,
    show_default=True,
    help="How long the finished job stays where its storage is Redis.",
)
@click.option("--resume-id", metavar="JOB", help="Submit a job again whose submit was interrupted.")
@click.option("--wait", is_flag=True, help="Follow the job; exit status as of `fiqa watch`.")
@as_json
def submit(
    *,
    source: tuple[str, ...],
    name: str | None,
    priority: str,
    chunk_size: int | None,
    max_failed: float,
    keep_days: float,
    resume_id: str | None,
    strict: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Enqueue a job and print its id.

    SOURCE: a folder (recursive), an image, an s3://bucket/prefix/, a list of URIs (.txt), an S3 Batch Operations .csv
    (Bucket,Key), an S3 Inventory manifest.json, a .jsonl with `uri` or `source-ref` (and `id`), or - for a list on
    standard input. Each also .gz; lists also as s3://bucket/list.txt.
    """
    bad_lines = BadLines(strict=strict)
    with Client() as client:
        with CountProgress("images") as progress:
            job = client.submit(
                read(source, on_bad_line=bad_lines),
                name=name,
                priority=priority,
                chunk_size=chunk_size,
                max_failed=max_failed,
                keep_s=keep_days * _DAY_S,
                resume_id=resume_id,
                progress=progress.show,
            )
        bad_lines.tell_rest()
        show_job(job, as_json=as_json)
        return _follow(client, job.id) if wait else 0


@fiqa.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line whenever something has changed.")
def watch(job: str, *, as_json: bool) -> int:
    """Follow a job with a progress bar.

    Exit status 0 if it succeeds and no larger share of its images failed than --max-failed allowed, else 1.
    """
    with Client() as client:
        client.status(job)  # before a bar is drawn: a wrong id is one line and nothing else
        return _follow_as_json(client, job) if as_json else _follow(client, job)


@fiqa.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line a job.")
def jobs(limit: int, *, as_json: bool) -> None:
    """List the newest jobs."""
    with Client() as client:
        found = client.jobs(limit=limit)
    if as_json:
        for job in found:
            click.echo(status_line(job))
        return

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("job", "name", "state", "priority", "created"):
        table.add_column(column, no_wrap=True)
    for column in ("images", "done", "scored", "no face", "failed", "images/s"):
        table.add_column(column, justify="right")
    for job in found:
        counts = (job.images, job.images_done, job.scored, job.no_face, job.failed, round(job.images_per_s or 0))
        table.add_row(
            job.id,
            Text(job.name or ""),
            str(job.state),
            str(job.priority),
            local_time(job.created),
            *(f"{count:,}" for count in counts),
        )
    # As wide as it is: rich would cut numbers to fit a narrow terminal or, in a pipe, 80 columns.
    Console(width=Console(width=10_000).measure(table).maximum).print(table)


@fiqa.command()
@click.argument("job")
@results_output
@click.option(
    "--format", "form", type=click.Choice([*map(str, Format)]), help="[default: by the file's ending, else jsonl]."
)
@click.option("--status", type=click.Choice([*map(str, Status)]), help="Only images that ended so.")
@click.option("--best", is_flag=True, help="Of an image only the face of the highest quality.")
@click.option("--min-quality", type=float, help="Only faces of at least this quality, and images that have one.")
@click.option("--max-quality", type=float, help="Only faces of at most this quality, and images that have one.")
@click.option("--follow", is_flag=True, help="Wait for the rest, until the job is finished.")
def results(
    *,
    job: str,
    output: Path | None,
    form: str | None,
    status: str | None,
    min_quality: float | None,
    max_quality: float | None,
    best: bool,
    follow: bool,
) -> None:
    """Write the results that are there by now: a JSON line an image, or a row a face (csv, parquet)."""
    chosen = Format(form) if form else Format.of(output)
    selection = Selection(Status(status) if status else None, best, min_quality, max_quality)
    with Client() as client:
        found = client.status(job)  # before the output is opened: a wrong id must not empty a file that is there
        written = write_results(output, client.result_shards(job, follow=follow), chosen, selection)
    if output is not None:
        click.echo(f"{written:,} results in {output}", err=True)
    if not found.is_finished and not follow:
        click.echo(f"the job is {found.state}, {found.images_done:,} of {found.images:,} images are done", err=True)


def write_results(
    output: Path | None,
    shards: Iterable[list[bytes]],
    form: Format = Format.JSONL,
    selection: Selection = Selection(),  # noqa: B008  it is frozen
    *,
    file: IO[bytes] | None = None,
) -> int:
    """Write results to a file, or to standard output, as they come; returns of how many images.

    Args:
        output: the file's name; None: standard output.
        shards: JSON lines of results, a shard at a time.
        form: what to write.
        selection: what of the results.
        file: that of the name, if it is open already.

    Raises:
        SettingsError: the file cannot be written, or Parquet is wanted on standard output or without pyarrow.
    """
    if form is Format.PARQUET:
        import_pyarrow()
        if output is None:
            raise SettingsError("Parquet is not written to standard output: name a file with -o")
    try:
        with ExitStack() as stack:
            if file is None:
                file = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
            written = write(shards, file, form, selection)
            file.flush()
            return written
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SettingsError(f"cannot write {output or 'standard output'}: {error.strerror}") from error


def _follow(client: Client, job_id: str) -> int:
    with JobProgress() as progress:
        for found in client.watch(job_id):
            progress.show(found)
    tell_failed(found, f"`fiqa results {job_id} --status failed` says why")
    return exit_status(found)


def tell_failed(status: JobStatus, where: str) -> None:
    """How many images failed of what, and where it is said why."""
    if status.failed:
        codes = ", ".join(f"{count:,} {code}" for code, count in status.failed_by_code.items())
        click.echo(f"failed: {codes}: {where}", err=True)


def _follow_as_json(client: Client, job_id: str) -> int:
    told = None
    for found in client.watch(job_id):
        news = (found.state, found.images_done, found.last_error, found.reason)
        if news != told:
            click.echo(status_line(found))
            sys.stdout.flush()
        told = news
    return exit_status(found)


def exit_status(status: JobStatus, *, images: int = 0, failed: int = 0) -> int:
    """0: the job succeeded, and no larger share of its images failed than it was submitted with; 1: it did not.

    Args:
        status: of the job.
        images: that were done before it, and count as well.
        failed: how many of those failed.
    """
    share = (status.failed + failed) / max(status.images + images, 1)
    return 0 if status.state is JobState.SUCCEEDED and share <= status.max_failed else FAILED
