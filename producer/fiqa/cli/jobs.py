"""The job commands: status, jobs, watch, pause, resume, cancel, delete, retry."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fiqa.cli.messages import LostShards, report_line
from fiqa.cli.output import as_json_option, print_job, status_as_json
from fiqa.cli.progress import follow
from fiqa.cli.status_line import summary
from fiqa.client import Client
from fiqa.ledger.status import JobStatus
from fiqa.text import duration, local_time, shown


@click.command()
@click.argument("job")
@as_json_option
def status(job: str, *, as_json: bool) -> None:
    """Show the progress of a job."""
    with Client() as client:
        _print_status(client.status(job), as_json=as_json)


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each job.")
@click.option("--all", "all_jobs", is_flag=True, help="Include finished jobs in FIQA_STORAGE that Redis has forgotten.")
def jobs(limit: int, *, as_json: bool, all_jobs: bool) -> None:
    """List the newest jobs."""
    with Client() as client:
        found = client.jobs(limit=limit)
        if all_jobs:
            found += client.stored_jobs(limit=limit)
            found = sorted(found, key=lambda job: job.created, reverse=True)[:limit]
    if as_json:
        for job in found:
            click.echo(status_as_json(job))
        return

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("job", "name", "state", "priority", "created"):
        table.add_column(column, no_wrap=True)
    for column in ("images", "done", "scored", "no face", "failed", "images/s"):
        table.add_column(column, justify="right")
    for job in found:
        counts = (job.images, job.images_done, job.scored, job.no_face, job.failed)
        table.add_row(
            job.id,
            Text(shown(job.name or "")),
            str(job.state),
            str(job.priority),
            local_time(job.created),
            *(f"{count:,}" for count in counts),
            # A job has no rate before it starts, and after `fiqa recover`: 0 would mean that it stands still.
            "-" if job.images_per_s is None else f"{round(job.images_per_s):,}",
        )
    # The console is as wide as the table. Otherwise rich would cut numbers at the terminal's width or, in a pipe, at 80
    # columns.
    Console(width=Console(width=10_000).measure(table).maximum).print(table)


@click.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line whenever the status changes.")
def watch(job: str, *, as_json: bool) -> int:
    """Follow a job with a progress bar.

    The exit status is 0 if the job succeeds and no more of its images fail than `fiqa submit --max-failed` allows.
    Otherwise it is 1.
    """
    with Client() as client:
        client.status(job)  # before a bar is drawn, so that a wrong id is one line and nothing else
        return follow(client, job, as_json=as_json)


@click.command()
@click.argument("job")
@as_json_option
def pause(job: str, *, as_json: bool) -> None:
    """Start no more chunks of a job. Chunks in flight are finished."""
    with Client() as client:
        _print_status(client.pause(job), as_json=as_json)


@click.command()
@click.argument("job")
@click.option(
    "--max-failed",
    type=click.FloatRange(0, 1),
    help="Set a new limit for the share of failed images; 1 never stops the job. Continues a job that was stopped.",
)
@as_json_option
def resume(job: str, *, max_failed: float | None, as_json: bool) -> None:
    """Continue a job that is paused, or was stopped because too many images failed."""
    with Client() as client:
        _print_status(client.resume(job, max_failed=max_failed), as_json=as_json)


@click.command()
@click.argument("job")
@as_json_option
def cancel(job: str, *, as_json: bool) -> None:
    """Stop a job for good, within 2 s. Its results so far are kept."""
    with Client() as client:
        _print_status(client.cancel(job), as_json=as_json)


@click.command()
@click.argument("job")
def delete(job: str) -> None:
    """Delete a finished job with its manifest and results.

    A job that an interrupted submit left `preparing` can be deleted too.
    """
    with Client() as client:
        client.delete(job)
    report_line(f"job {job} is deleted")


@click.command()
@click.argument("job")
@click.option("--all", "all_failed", is_flag=True, help="Include failures that will probably recur, such as not_found.")
@click.option("--rest", is_flag=True, help="Include the images that have no result because the job was stopped.")
@as_json_option
def retry(job: str, *, all_failed: bool, rest: bool, as_json: bool) -> int:
    """Submit the failed images of a finished job as a new job.

    The command prints the new job's id. Without --all, it submits only the images that failed with fetch_failed,
    fetch_timeout or internal_error.
    """
    lost = LostShards()
    with Client() as client:
        print_job(client.retry(job, all_failed=all_failed, rest=rest, on_lost=lost), as_json=as_json)
    lost.report_rest(job)
    return 1 if lost.found else 0


def _print_status(found: JobStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(status_as_json(found))
        return
    table = Table.grid(padding=(0, 2))
    rows = {
        "job": found.id + (f"  {found.name}" if found.name else ""),
        "state": f"{found.state}, {found.priority} priority",
        "images": f"{found.images_done:,} of {found.images:,}: {summary(found)}",
        "faces": f"{found.faces:,}",
        "chunks": f"{found.chunks_done:,} of {found.chunks:,}",
        "failed": ", ".join(f"{count:,} {code}" for code, count in found.failed_by_code.items()) or "none",
        "models": ", ".join(found.models) or "-",
        "fingerprint": found.fingerprint,
        "storage": found.storage,
        "retries": found.parent,
        "created": local_time(found.created),
        "took": duration(found.finished - found.started) if found.started and found.finished else "-",
    }
    for label, text in rows.items():
        if text is not None:
            table.add_row(Text(label, "dim"), Text(shown(text)))
    Console().print(table)
