"""`fiqa results`: a job's results to a file or to standard output."""

from __future__ import annotations

from pathlib import Path

import click

from fiqa.cli.files import check_free, force_option
from fiqa.cli.messages import LostShards, report_line
from fiqa.cli.output import Destination, results_option, write_results
from fiqa.client import Client
from fiqa.contract import Reason, Status
from fiqa.errors import UsageError
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
@click.option("--min-face-px", type=click.IntRange(1), help="Only faces of at least this many pixels.")
@click.option(
    "--reason", type=click.Choice([*map(str, Reason)]), help="Only faces with this reason, of a job with --measures."
)
@click.option("--best-per-id", is_flag=True, help="Only the best image of each of your ids.")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only the N images of the highest quality.")
@click.option("--worst", type=click.IntRange(1), metavar="N", help="Only the N images of the lowest quality.")
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
    min_face_px: int | None,
    reason: str | None,
    best_per_id: bool,
    top: int | None,
    worst: int | None,
    follow: bool,
) -> int:
    """Write the results of a job as JSONL, CSV or Parquet.

    JSONL has a line for each image. CSV and Parquet have a row for each face, and a row for each image without a face.
    While the job runs, the results so far are written. A file appears when it is complete. An existing file is replaced
    only with --force.

    --best-per-id, --top and --worst compare images by the quality of their largest face, or with --best of their best
    face.

    \b
    Examples:
      fiqa results JOB -o results.jsonl
      fiqa results JOB -o faces.csv
      fiqa results JOB --best --min-quality 0.6 -o good.jsonl
      fiqa results JOB --best-per-id -o enroll.jsonl
      fiqa results JOB --reason blurred --worst 20
      fiqa results JOB --status failed | jq -r .error.code | sort | uniq -c
    """  # noqa: D301  click's \b keeps the lines below it as they are
    destination = Destination.of(output, Format(file_format) if file_format else None, force=force)
    selection = Selection(
        status=Status(status) if status else None,
        best=best,
        min_quality=min_quality,
        max_quality=max_quality,
        min_face_px=min_face_px,
        reason=Reason(reason) if reason else None,
        best_per_id=best_per_id,
        top=top,
        worst=worst,
    )
    lost = LostShards()
    with Client() as client:
        if output is not None:
            check_free(output, force=force)
        found = client.status(job)
        has_measures = bool(found.options.get("measures"))
        if reason and not has_measures:
            raise UsageError(f"the results of {job} have no reasons: submit its images again with --measures")
        shards = client.result_shards(job, follow=follow, on_lost=lost)
        written = write_results(destination, shards, selection, measures=has_measures)
    if output is not None:
        report_line(f"{count(written, 'result')} in {output}")
    if best_per_id and not written:
        report_line("fiqa: none of the selected images has an id: give ids in the source of the job")
    if not found.is_finished and not follow:
        report_line(f"the job is {found.state}, with {found.images_done:,} of {count(found.images, 'image')} done")
    lost.report_rest(job)
    return 1 if lost.found else 0
