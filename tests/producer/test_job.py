from __future__ import annotations

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode, JobState, Status
from fiqa.errors import UnknownJobError
from fiqa.ledger.ledger import Ledger
from fiqa.results.selection import Selection
from tests.producer.faceless import failed, work
from tests.producer.jobs.one_hundred import URIS


# The handle of a job
def test_a_job_is_followed_through_its_handle(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS, name="backfill")
    assert job.status().state is JobState.RUNNING
    assert job.pause().state is JobState.PAUSED
    assert job.resume().state is JobState.RUNNING
    assert list(job.results()) == []
    work(ledger)
    assert job.wait(timeout_s=60).state is JobState.SUCCEEDED
    assert [status.state for status in job.watch()] == [JobState.SUCCEEDED]
    assert [result.uri for result in job.results(follow=True)] == URIS
    assert list(job.results(Selection(status=Status.SCORED))) == []
    job.delete()
    with pytest.raises(UnknownJobError):
        job.status()


def test_a_job_is_cancelled_and_retried_through_its_handle(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=1, end=lambda item: failed(item, ErrorCode.FETCH_FAILED))
    assert job.cancel().state is JobState.CANCELLED
    again = job.retry()
    assert (again.images, again.status().parent) == (16, job.id)


def test_the_handle_of_an_earlier_job_is_the_same(client: Client) -> None:
    job = client.submit(URIS, name="backfill")
    assert client.job(job.id) == job
    assert client.job(job.id).status() == job.status()


def test_a_handle_shows_the_job_without_its_client(client: Client) -> None:
    job = client.submit(URIS, name="backfill")
    assert repr(job) == f"Job(id='{job.id}', name='backfill', images=100, chunks=7)"
