"""What commands share about their output: options, jobs as JSON, results in files, and the exit status."""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

import click

from fiqa.cli.files import cannot_write, check_suffix, is_stream, new_file
from fiqa.cli.messages import report_line
from fiqa.contract import JobState
from fiqa.errors import UsageError
from fiqa.job import Job
from fiqa.ledger.status import JobStatus
from fiqa.results.export import SUFFIXES, Format, format_of, import_pyarrow, write
from fiqa.results.selection import Selection
from fiqa.sources.left_out import LeftOut
from fiqa.text import count

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

results_option = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    callback=lambda _context, _option, path: None if path == Path("-") else path,
    help="Write to this .jsonl, .jsonl.gz, .csv, .csv.gz or .parquet file [default: -, standard output].",
)


def print_job(job: Job, *, as_json: bool, left_out: LeftOut | None = None) -> None:
    """Print the id of a new job. With `as_json`, also print its name, its size and what its source left out."""
    if as_json:
        fields: dict[str, Any] = {"id": job.id, "name": job.name, "images": job.images, "chunks": job.chunks}
        if left_out is not None:
            fields["left_out"] = left_out.counts
        click.echo(json.dumps(fields))
        return
    click.echo(job.id)
    report_line(f"{count(job.images, 'image')} in {count(job.chunks, 'chunk')}")


def status_as_json(status: JobStatus) -> str:
    """Return a job's status as one JSON line."""
    return json.dumps(dataclasses.asdict(status))


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go, and in which format.

    Attributes:
        path: the file; None for standard output.
        file_format: the format.
        gzipped: whether the file is compressed.
        force: whether an existing file is replaced.
    """

    path: Path | None = None
    file_format: Format = Format.JSONL
    gzipped: bool = False
    force: bool = False

    @classmethod
    def of(cls, path: Path | None, file_format: Format | None = None, *, force: bool = False) -> Self:
        """Return the destination that options name. The suffix of a file names its format.

        Args:
            path: the file; None for standard output.
            file_format: the format that was asked for; None: that of the suffix, else JSONL.
            force: whether an existing file is replaced.

        Raises:
            OutputError: the suffix names no format.
            UsageError: the suffix names another format than the one that was asked for, or Parquet would go to standard
                output.
            MissingDependencyError: the format is Parquet, and pyarrow is not installed.
        """
        named = format_of(path) if path else None
        if path and not named:
            check_suffix(path, tuple(SUFFIXES))
        if named and file_format and named[0] is not file_format:
            raise UsageError(
                f"{path} with --format {file_format}: omit --format: the name of the file decides its format"
            )
        chosen, gzipped = named or (file_format or Format.JSONL, False)
        if chosen is Format.PARQUET:
            import_pyarrow()
            if path is None or is_stream(path):
                raise UsageError("Parquet is not written to standard output: name a file with -o")
        return cls(path, chosen, gzipped, force)


def write_results(
    destination: Destination,
    shards: Generator[list[bytes], None, None],
    selection: Selection = Selection(),  # noqa: B008  it is frozen
    *,
    file: IO[bytes] | None = None,
    measures: bool = False,
) -> int:
    """Write results to a file or to standard output, as they come.

    Args:
        destination: where they go. A file appears when all of them are written.
        shards: results as JSON lines, one list per shard. This function closes them.
        selection: the results to write.
        file: the file of the destination, if it is open already.
        measures: whether CSV and Parquet have columns for the measures.

    Returns:
        The number of images written.

    Raises:
        OutputError: the file cannot be written, or exists already.
    """
    path = destination.path
    with ExitStack() as stack:
        # On an error the traceback keeps a reference to the generator. Later the garbage collector could run in one of
        # the threads that read shards, and close the generator there. Closing joins these threads, and a thread cannot
        # join itself.
        stack.enter_context(closing(shards))
        if file is None:
            file = stack.enter_context(new_file(path, force=destination.force)) if path else sys.stdout.buffer
        try:
            if destination.gzipped:
                # Without a name and a time, so that the same results are the same bytes.
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
                    zipped_file = cast("IO[bytes]", zipped)
                    written = write(shards, zipped_file, destination.file_format, selection, measures=measures)
            else:
                written = write(shards, file, destination.file_format, selection, measures=measures)
            file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(path, error) from error
        return written


def exit_status(status: JobStatus, *, images: int = 0, failed: int = 0) -> int:
    """Return 0 if a job succeeded with at most the share of failed images that it allows, else 1.

    Args:
        status: the job's.
        images: number of images of earlier runs; they count too.
        failed: how many of those failed.
    """
    share = (status.failed + failed) / max(status.images + images, 1)
    return 0 if status.state is JobState.SUCCEEDED and share <= status.max_failed else 1
