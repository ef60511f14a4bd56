"""The commands on one job: status, pause, resume, cancel, delete, retry, recover."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.table import Table
from rich.text import Text

from fiqa.cli.progress import summary, transient_progress
from fiqa.client import Client
from fiqa.errors import ContractError, JobStateError, StorageError, UnknownJobError
from fiqa.jobs.submit import Job
from fiqa.ledger.status import JobStatus
from fiqa.results.text import duration

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("job")
@as_json
def status(job: str, *, as_json: bool) -> None:
    """Show how far a job is."""
    with Client() as client:
        _show(client.status(job), as_json=as_json)


@click.command()
@click.argument("job")
@as_json
def pause(job: str, *, as_json: bool) -> None:
    """Start no more chunks of a job; those under way are finished."""
    with Client() as client:
        _show(client.pause(job), as_json=as_json)


@click.command()
@click.argument("job")
@as_json
def resume(job: str, *, as_json: bool) -> None:
    """Go on with a paused job."""
    with Client() as client:
        _show(client.resume(job), as_json=as_json)


@click.command()
@click.argument("job")
@as_json
def cancel(job: str, *, as_json: bool) -> None:
    """Stop a job for good, within 2 s; its results so far stay."""
    with Client() as client:
        _show(client.cancel(job), as_json=as_json)


@click.command()
@click.argument("job")
def delete(job: str) -> None:
    """Delete a finished job, or one left `preparing`, with its manifest and results."""
    with Client() as client:
        client.delete(job)
    click.echo(f"job {job} is deleted", err=True)


@click.command()
@click.argument("job")
@click.option("--all", "all_failed", is_flag=True, help="Also those that will hardly fare better, as not_found.")
@as_json
def retry(job: str, *, all_failed: bool, as_json: bool) -> None:
    """Enqueue the failed images of a finished job as a new one, and print its id."""
    with Client() as client:
        show_job(client.retry(job, all_failed=all_failed), as_json=as_json)


@click.command()
@click.argument("job", nargs=-1)
@click.option("--all", "all_jobs", is_flag=True, help="All that are in FIQA_STORAGE and not in Redis.")
def recover(job: tuple[str, ...], *, all_jobs: bool) -> int:
    """Rebuild jobs out of FIQA_STORAGE after Redis was lost; what is not done goes on.

    With neither JOB nor --all: print the jobs that can be recovered.
    """
    with Client() as client:
        if not job and not all_jobs:
            for job_id in client.recoverable():
                click.echo(job_id)
            return 0
        failed = 0
        for job_id in client.recoverable() if all_jobs else job:
            try:
                found = _recover_one(client, job_id)
            except (ContractError, StorageError, JobStateError, UnknownJobError) as error:
                click.echo(f"fiqa: {error}", err=True)
                failed = 1
                continue
            click.echo(f"job {job_id} is {found.state}: {summary(found)}", err=True)
    return failed


def _recover_one(client: Client, job_id: str) -> JobStatus:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
    with transient_progress(*columns) as progress:
        task = progress.add_task(f"counting the shards of {job_id}", total=None)
        return client.recover(job_id, lambda done, shards: progress.update(task, completed=done, total=shards))


def show_job(job: Job, *, as_json: bool) -> None:
    """Print the id of a job that was submitted, or as JSON all that is known of it."""
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(job)))
        return
    click.echo(job.id)
    click.echo(f"{job.images:,} images in {job.chunks:,} chunks", err=True)


def status_line(found: JobStatus) -> str:
    """A job's status as one line of JSON."""
    return json.dumps(dataclasses.asdict(found))


def local_time(seconds: float) -> str:
    """Unix seconds as a clock on the wall shows them."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _show(found: JobStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(status_line(found))
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
        "storage": found.storage,
        "retries": found.parent,
        "created": local_time(found.created),
        "took": duration(found.finished - found.started) if found.started and found.finished else "-",
    }
    for label, text in rows.items():
        if text is not None:
            table.add_row(Text(label, "dim"), Text(text))
    Console().print(table)
