"""`fiqa results`: a job's results to a file or to standard output."""

from __future__ import annotations

from pathlib import Path

import click

from fiqa.cli.files import check_free, force_option
from fiqa.cli.messages import LostShards, report_line
from fiqa.cli.output import Destination, results_option, write_results
from fiqa.client import Client
from fiqa.contract import Status
from fiqa.results.export import Format
from fiqa.results.selection import Selection
from fiqa.text import count


@click.command()
@click.argument("job")
@results_option
@force_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*map(str, Format)]),
    help="Format on standard output [default: jsonl]. The suffix of a file names its format.",
)
@click.option("--status", type=click.Choice([*map(str, Status)]), help="Only results with this status.")
@click.option("--best", is_flag=True, help="Only the face of the highest quality in each image.")
@click.option("--min-quality", type=float, help="Only faces of at least this quality, and images with such a face.")
@click.option("--max-quality", type=float, help="Only faces of at most this quality, and images with such a face.")
@click.option("--follow", is_flag=True, help="Wait for more results until the job is finished.")
def results(
    *,
    job: str,
    output: Path | None,
    force: bool,
    file_format: str | None,
    status: str | None,
    min_quality: float | None,
    max_quality: float | None,
    best: bool,
    follow: bool,
) -> int:
    """Write the results of a job as JSONL, CSV or Parquet.

    JSONL has a line for each image. CSV and Parquet have a row for each face, and a row for each image without a face.
    While the job runs, the results so far are written. A file appears when it is complete. An existing file is replaced
    only with --force.

    \b
    Examples:
      fiqa results JOB -o results.jsonl
      fiqa results JOB -o faces.csv
      fiqa results JOB --best --min-quality 0.6 -o good.jsonl
      fiqa results JOB --status failed | jq -r .error.code | sort | uniq -c
    """  # noqa: D301  click's \b keeps the lines below it as they are
    destination = Destination.of(output, Format(file_format) if file_format else None, force=force)
    selection = Selection(Status(status) if status else None, best, min_quality, max_quality)
    lost = LostShards()
    with Client() as client:
        if output is not None:
            check_free(output, force=force)
        found = client.status(job)
        shards = client.result_shards(job, follow=follow, on_lost=lost)
        written = write_results(destination, shards, selection, measures=bool(found.options.get("measures")))
    if output is not None:
        report_line(f"{count(written, 'result')} in {output}")
    if not found.is_finished and not follow:
        report_line(f"the job is {found.state}, with {found.images_done:,} of {count(found.images, 'image')} done")
    lost.report_rest(job)
    return 1 if lost.found else 0
