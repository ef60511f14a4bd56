"""`fiqa recover`: rebuild jobs in Redis from their storage."""

from __future__ import annotations

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from fiqa.cli.messages import LostShards, report_error, report_line
from fiqa.cli.progress import transient_progress
from fiqa.cli.status_line import summary
from fiqa.client import Client
from fiqa.errors import ContractError, JobStateError, StorageError, UnknownJobError
from fiqa.ledger.status import JobStatus
from fiqa.text import count


@click.command()
@click.argument("job", nargs=-1)
@click.option("--all", "all_jobs", is_flag=True, help="Recover every job that is in FIQA_STORAGE but not in Redis.")
def recover(job: tuple[str, ...], *, all_jobs: bool) -> int:
    """Rebuild jobs from FIQA_STORAGE after Redis was lost.

    Workers then continue these jobs. Without JOB and --all, the command prints the jobs that can be recovered.
    """
    with Client() as client:
        if not job and not all_jobs:
            found_ids = client.recoverable()
            for job_id in found_ids:
                click.echo(job_id)
            return 0 if found_ids else _explain_nothing(client)
        exit_status = 0
        wanted = client.recoverable() if all_jobs else job
        if not wanted:
            return _explain_nothing(client)
        for job_id in wanted:
            try:
                lost = LostShards()
                found = _recover_one(client, job_id, lost)
            except (ContractError, StorageError, JobStateError, UnknownJobError) as error:
                report_error(error)
                exit_status = 1
                continue
            report_line(f"job {job_id} is {found.state}: {summary(found)}")
            if lost.found:
                damaged = count(lost.found, "of its shards is", "of its shards are")
                report_line(f"{damaged} damaged and not counted: workers recreate what is lost")
                exit_status = 1
    return exit_status


def _explain_nothing(client: Client) -> int:
    """Print why there is nothing to recover. Returns the exit status."""
    stored = len(client.stored_ids())
    if stored:
        report_line(
            f"nothing to recover: {count(stored, 'job is', 'jobs are')} in {client.storage}, all of them in Redis"
        )
        return 0
    report_line(f"fiqa: no jobs are in {client.storage}: set FIQA_STORAGE to the storage of the jobs")
    return 1


def _recover_one(client: Client, job_id: str, lost: LostShards) -> JobStatus:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
    with transient_progress(*columns) as progress:
        task = progress.add_task(f"counting the shards of {job_id}", total=None)
        return client.recover(job_id, lambda done, shards: progress.update(task, completed=done, total=shards), lost)
