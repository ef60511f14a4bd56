from __future__ import annotations

import json

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode
from fiqa.errors import StorageError
from fiqa.jobs.summary import write_summaries, write_summary
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage, open_storage
from tests.keys import ENDED, job_key
from tests.producer.faceless import failed, work
from tests.producer.jobs.one_hundred import URIS, in_a_folder, outside_redis


def write_all(ledger: Ledger) -> int:
    def open_it(url: str) -> Storage:
        return open_storage(url, ledger.connection)

    return write_summaries(ledger, lambda job_id: write_summary(job_id, ledger=ledger, open_storage=open_it))


@outside_redis
def test_a_finished_job_has_a_summary_next_to_its_results(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS, name="backfill")
    work(ledger, chunks=6)
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    ledger.connection.redis.zadd(ENDED, {job.id: 0})
    assert write_all(ledger) == 1
    assert write_all(ledger) == 0
    document = open_storage(storage, ledger.connection).read_document(job.id, "summary")
    assert document is not None
    summary = json.loads(document)
    assert (summary["v"], summary["id"], summary["name"], summary["state"]) == (1, job.id, "backfill", "succeeded")
    assert (summary["images"], summary["no_face"], summary["failed"]) == (100, 96, 4)
    assert (summary["failed_by_code"], summary["models"]) == ({"not_found": 4}, {"d/q": 100})
    assert summary["created"] <= summary["started"] <= summary["finished"]


@in_a_folder
def test_a_summary_that_cannot_be_written_stays_due(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS)
    work(ledger)
    ledger.connection.redis.hset(job_key(job.id), "storage", "/dev/null/storage")
    other = client.submit(URIS)
    work(ledger)
    ledger.connection.redis.zadd(ENDED, dict.fromkeys(ledger.ended(), 0))
    with pytest.raises(StorageError):
        write_all(ledger)
    assert ledger.ended() == [job.id]
    assert open_storage(storage, ledger.connection).read_document(other.id, "summary") is not None
    ledger.connection.redis.hset(job_key(job.id), "storage", storage)
    assert write_all(ledger) == 0
    ledger.connection.redis.zadd(ENDED, {job.id: 0})
    assert write_all(ledger) == 1


@outside_redis
def test_a_summary_that_is_written_after_its_job_was_deleted_is_deleted_too(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    client.cancel(job.id)
    # The first half of `delete`. The reconciler runs before the second.
    open_storage(storage, ledger.connection).delete(job.id)
    write_all(ledger)
    ledger.control(job.id, Control.DELETE)
    assert open_storage(storage, ledger.connection).read_document(job.id, "summary") is None
    assert client.recoverable() == []
