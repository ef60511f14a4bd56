"""`fiqa submit`: make a job from sources of images."""

from __future__ import annotations

from typing import Final

import click

from fiqa.cli.job_options import job_options
from fiqa.cli.messages import BadLines
from fiqa.cli.output import as_json_option, print_job
from fiqa.cli.progress import CountProgress, follow
from fiqa.client import Client
from fiqa.contract import DEFAULT_KEEP_S, DEFAULT_MAX_FAILED, MAX_CHUNK_SIZE, JobOptions, Priority
from fiqa.errors import SourceError
from fiqa.sources.manifest import read_source

_DAY_S: Final = 24 * 3600.0


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--name", help="Display name.")
@click.option(
    "--priority",
    type=click.Choice([*map(str, Priority)]),
    default="normal",
    show_default=True,
    help="Run before jobs of a lower priority.",
)
@click.option(
    "--chunk-size", type=click.IntRange(1, MAX_CHUNK_SIZE), help="Images in a chunk [default: grows from 16 to 256]."
)
@click.option("--strict", is_flag=True, help="Fail on the first bad line.")
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    default=DEFAULT_MAX_FAILED,
    show_default=True,
    help="Stop the job if more than this share of its images failed, once at least 1,000 are done; 1 never stops it.",
)
@click.option(
    "--keep-days",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_KEEP_S / _DAY_S,
    show_default=True,
    help="Keep the finished job in Redis this long.",
)
@click.option(
    "--any-worker", is_flag=True, help="Let workers with different models, settings or versions score the job together."
)
@job_options
@click.option("--resume-id", metavar="JOB", help="Submit this job again, after its submit was interrupted.")
@click.option("--wait", is_flag=True, help="Follow the job to its end, and exit as `fiqa watch` does.")
@as_json_option
def submit(
    *,
    source: tuple[str, ...],
    name: str | None,
    priority: str,
    chunk_size: int | None,
    max_failed: float,
    keep_days: float,
    any_worker: bool,
    options: JobOptions,
    resume_id: str | None,
    strict: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Submit a job and print its id.

    \b
    SOURCE is one or more of:
      images/, a.jpg         a folder (with all its subfolders), an image
      s3://bucket/prefix/    the images under a prefix
      list.txt, -            a URI or a path on each line; - is standard input
      list.jsonl             lines with `uri` or `source-ref`, and optionally `id`
      own.csv                a CSV with titles: uri, url, path or filename, and optionally id
      batch.csv              S3 Batch Operations: Bucket,Key
      manifest.json          S3 Inventory
    Each file may also be gzipped (.gz), and may be an s3:// URI itself.

    \b
    Examples:
      fiqa submit ~/images
      fiqa submit s3://images/2026/ --name backfill --priority low
      find /mnt/images -name '*.jpg' | fiqa submit - --wait
    """  # noqa: D301  click's \b keeps the lines below it as they are
    bad_lines = BadLines(strict=strict)
    with Client() as client:
        try:
            with CountProgress("images") as progress:
                job = client.submit(
                    read_source(source, on_bad_line=bad_lines, left_out=bad_lines.left_out),
                    name=name,
                    priority=priority,
                    chunk_size=chunk_size,
                    max_failed=max_failed,
                    keep_s=keep_days * _DAY_S,
                    any_worker=any_worker,
                    resume_id=resume_id,
                    progress=progress.show,
                    **dict(options),
                )
        except SourceError:
            bad_lines.report_rest()  # this may be the reason why there are no images
            raise
        bad_lines.report_rest()
        print_job(job, as_json=as_json, left_out=bad_lines.left_out)
        return follow(client, job.id) if wait else 0
