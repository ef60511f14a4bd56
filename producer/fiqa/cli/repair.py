"""`fiqa repair`: let workers recreate lost result shards."""

from __future__ import annotations

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from fiqa.cli.messages import report_line
from fiqa.cli.progress import transient_progress
from fiqa.client import Client
from fiqa.contract import JobState
from fiqa.text import count


@click.command()
@click.argument("job")
def repair(job: str) -> None:
    """Recreate the lost result shards of a finished job.

    The command reads all results of the job, and prints the shards that are gone or damaged. Workers then score the
    images of these shards again. If the manifest is back, they also score the images that ended as manifest_lost.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
    with Client() as client, transient_progress(*columns) as progress:
        task = progress.add_task(f"reading the shards of {job}", total=None)
        found = client.repair(job, lambda done, shards: progress.update(task, completed=done, total=shards))
    for line in found.shards:
        report_line(line)
    if not found.shards:
        report_line(f"job {job} has all its shards")
    elif found.state is JobState.RUNNING:
        report_line(f"job {job} is running: {count(len(found.shards), 'shard is', 'shards are')} recreated")
    else:
        report_line(
            f"job {job} stays {found.state}: {count(len(found.shards), 'shard is', 'shards are')} no longer counted"
        )
