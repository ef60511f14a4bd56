from __future__ import annotations

from collections.abc import Iterator

import pytest

from fiqa.client import Client
from fiqa.contract import JobState
from fiqa.errors import JobStateError, UnknownJobError
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import open_storage
from tests.keys import QUEUE, job_key
from tests.producer.faceless import work
from tests.producer.jobs.one_hundred import URIS, wait_until_written


def test_a_cancelled_job_keeps_its_results_until_it_is_deleted(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=2)
    refused = rf"^job {job.id} is running: cannot delete it: `fiqa cancel {job.id}` first$"
    with pytest.raises(JobStateError, match=refused):
        client.delete(job.id)
    assert client.cancel(job.id).state is JobState.CANCELLED
    assert client.cancel(job.id).state is JobState.CANCELLED
    assert len(list(client.results(job.id))) == 32
    client.delete(job.id)
    assert client.jobs() == []
    assert open_storage(storage, ledger.connection).chunks(job.id, "results") == []
    ledger.connection.redis.delete(QUEUE)
    assert ledger.connection.redis.keys("fiqa*") == []


def test_a_job_deleted_while_it_is_submitted_does_not_come_back(client: Client, ledger: Ledger) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                wait_until_written(client, 3)
                client.delete(client.jobs()[0].id)
            yield uri

    with pytest.raises(UnknownJobError):
        client.submit(source())
    assert client.jobs() == []
    assert client.recoverable() == []
    assert ledger.connection.redis.keys(job_key("*")) == []
