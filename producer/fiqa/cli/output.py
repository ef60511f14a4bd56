"""What commands share about their output: options, jobs as JSON, results in files, and the exit status."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO

import click

from fiqa.contract import JobState
from fiqa.errors import OutputError, UsageError
from fiqa.job import Job
from fiqa.ledger.status import JobStatus
from fiqa.results.export import Format, import_pyarrow, write
from fiqa.results.selection import Selection

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

results_option = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    callback=lambda _context, _option, path: None if path == Path("-") else path,
    help="Write to this .jsonl, .csv or .parquet file [default: -, standard output].",
)


def print_job(job: Job, *, as_json: bool) -> None:
    """Print the id of a job that was submitted; with `as_json`, its name and size too."""
    if as_json:
        fields = {"id": job.id, "name": job.name, "images": job.images, "chunks": job.chunks}
        click.echo(json.dumps(fields))
        return
    click.echo(job.id)
    click.echo(f"{job.images:,} images in {job.chunks:,} chunks", err=True)


def status_as_json(status: JobStatus) -> str:
    """Return a job's status as one JSON line."""
    return json.dumps(dataclasses.asdict(status))


def write_results(
    output: Path | None,
    shards: Generator[list[bytes], None, None],
    form: Format = Format.JSONL,
    selection: Selection = Selection(),  # noqa: B008  it is frozen
    *,
    file: IO[bytes] | None = None,
) -> int:
    """Write results to a file or to standard output, as they come.

    Args:
        output: the file's name; None for standard output.
        shards: results as JSON lines, one list a shard. They are closed.
        form: the format to write.
        selection: the results to write.
        file: the file of that name, if it is open already.

    Returns:
        The number of images written.

    Raises:
        OutputError: the file cannot be written.
        UsageError: the format is Parquet, and the output is standard output.
        MissingDependencyError: the format is Parquet, and pyarrow is not installed.
    """
    if form is Format.PARQUET:
        import_pyarrow()
        if output is None:
            raise UsageError("Parquet is not written to standard output: name a file with -o")
    try:
        with ExitStack() as stack:
            # On an error the traceback keeps the generator. The garbage collector could then close it in one of its own
            # reading threads, which cannot join itself.
            stack.enter_context(closing(shards))
            if file is None:
                file = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
            written = write(shards, file, form, selection)
            file.flush()
            return written
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {output or 'standard output'}: {error.strerror}") from error


def exit_status(status: JobStatus, *, images: int = 0, failed: int = 0) -> int:
    """Return 0 if a job succeeded with at most the share of failed images that it allows, else 1.

    Args:
        status: the job's.
        images: images of earlier runs, which count too.
        failed: how many of those failed.
    """
    share = (status.failed + failed) / max(status.images + images, 1)
    return 0 if status.state is JobState.SUCCEEDED and share <= status.max_failed else 1
