"""`fiqa repair`: let workers recreate lost result shards."""

from __future__ import annotations

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from fiqa.cli.progress import transient_progress
from fiqa.client import Client
from fiqa.contract import JobState


@click.command()
@click.argument("job")
def repair(job: str) -> None:
    """Recreate the lost result shards of a finished job.

    It reads all results of the job, and prints the shards that are gone or damaged. Workers then score the images of
    these shards again. If the manifest is back, they also score the images that ended as manifest_lost.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
    with Client() as client, transient_progress(*columns) as progress:
        task = progress.add_task(f"reading the shards of {job}", total=None)
        found = client.repair(job, lambda done, shards: progress.update(task, completed=done, total=shards))
    for line in found.shards:
        click.echo(line, err=True)
    if not found.shards:
        click.echo(f"job {job} has all its shards", err=True)
    elif found.state is JobState.RUNNING:
        click.echo(f"job {job} is running: {len(found.shards):,} shards are recreated", err=True)
    else:
        click.echo(f"job {job} stays {found.state}: {len(found.shards):,} shards are no longer counted", err=True)
