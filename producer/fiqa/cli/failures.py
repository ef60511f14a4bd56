"""Reports the failed images of a job on standard error."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from typing import Final

from fiqa.cli.messages import report_line
from fiqa.client import Client
from fiqa.contract import JobState, Status
from fiqa.errors import FiqaError
from fiqa.ledger.status import JobStatus
from fiqa.results.selection import Selection
from fiqa.text import count, per_cent, readable_uri

_FAILED: Final = Selection(Status.FAILED)


def report_failures(status: JobStatus, where: str) -> None:
    """Print how many images failed with which code, if any did.

    Args:
        status: the status of the job.
        where: a clause that says where to read the reasons.
    """
    if status.failed:
        codes = ", ".join(f"{count:,} {code}" for code, count in status.failed_by_code.items())
        report_line(f"failed: {codes}: {where}")


def report_too_many(
    client: Client, status: JobStatus, *, limit: str = "--max-failed ", images: int = 0, failed: int = 0
) -> None:
    """If too many images of a finished job failed, print their share, and why the first image failed.

    Such a job can have the state `succeeded`. Without this line nothing would explain the exit status 1.

    Args:
        client: reads the results of the job.
        status: the status of the job at its end.
        limit: text before the limit in the message, such as the option that sets it.
        images: number of images of earlier runs; they count too.
        failed: how many of those failed.
    """
    all_failed, done = status.failed + failed, status.images_done + images
    if status.state is JobState.CANCELLED or all_failed <= status.max_failed * done:
        return
    share, most = per_cent(all_failed, done), f"{100 * status.max_failed:.3g} %"
    if share == most:  # 6,001 of 12,000
        share = f"{all_failed:,} of {count(done, 'image')}"
    first = _first_failure(client, status.id)
    report_line(f"fiqa: {share} failed, more than {limit}{most}{first}")


def _first_failure(client: Client, job_id: str) -> str:
    try:
        with closing(client.result_shards(job_id, on_lost=lambda _: None)) as shards:
            found = next(chain.from_iterable(_FAILED.batches(shards)), None)
    except FiqaError:  # if the results cannot be read, print the share alone
        return ""
    if found is None or found.error is None:
        return ""
    return f": the first is {readable_uri(found.uri)}: {found.error.code}: {found.error.message}"
