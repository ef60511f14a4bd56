"""Result shards that are gone or damaged: they are named, the rest is read, and they are made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode, ImageResult, Item, JobState
from fiqa.errors import JobStateError, StorageError
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import pack
from fiqa.storage.storage import Storage, open_storage
from tests.keys import job_key
from tests.producer.faceless import failed, no_face, work
from tests.producer.jobs.one_hundred import URIS, in_a_folder


def lose(storage: str, ledger: Ledger, job_id: str) -> Storage:
    """Damage the results of chunks 1, 2 and 6, whatever the storage is; chunk 2's are gone if it is a folder."""
    opened = open_storage(storage, ledger.connection)
    opened.replace(job_id, "results", 1, b"garbage")
    opened.replace(job_id, "results", 6, pack([no_face(Item(uri="s3://images/1.jpg")).encode()]))
    path = Path(storage) / "jobs" / job_id / "results" / "00000002.jsonl.gz"
    if path.exists():
        path.unlink()
    else:
        opened.replace(job_id, "results", 2, pack([b"{}"] * 16))
    return opened


def end(item: Item) -> ImageResult:
    return failed(item, ErrorCode.FETCH_FAILED) if item.uri.endswith("7.jpg") else no_face(item)


def test_lost_shards_are_named_left_out_and_recreated(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS)
    work(ledger, end=end)
    before, results = job.status(), list(job.results())
    lose(storage, ledger, job.id)

    with pytest.raises(StorageError):
        list(job.results())
    errors: list[StorageError] = []
    assert list(client.results(job.id, on_lost=errors.append)) == results[:16] + results[48:96]
    assert len(errors) == 3
    assert client.retry(job.id, on_lost=errors.append).images == 5
    assert len(errors) == 6
    client.cancel(client.jobs(limit=1)[0].id)

    repaired = job.repair()
    assert len(repaired.shards) == 3
    assert repaired.state is JobState.RUNNING
    status = job.status()
    assert (status.chunks_done, status.images_done, status.failed) == (4, 64, 5)
    work(ledger, end=end)
    assert list(job.results()) == results
    after = job.status()
    for name in ("state", "images_done", "no_face", "failed_by_code", "models", "chunks_done"):
        assert getattr(after, name) == getattr(before, name)
    assert job.repair().shards == ()


@in_a_folder
@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.PREPARING])
def test_a_job_that_is_not_finished_is_not_repaired(client: Client, ledger: Ledger, state: JobState) -> None:
    job = client.submit(URIS)
    ledger.connection.redis.hset(job_key(job.id), "state", state)
    with pytest.raises(JobStateError, match=rf"^job {job.id} is {state}: only a finished one can be repaired$"):
        job.repair()


def test_a_cancelled_job_stays_so_and_its_lost_results_are_not_counted(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=3)
    job.cancel()
    open_storage(storage, ledger.connection).replace(job.id, "results", 1, b"garbage")
    assert job.repair().state is JobState.CANCELLED
    assert (job.status().chunks_done, job.status().images_done) == (2, 32)
    assert [result.uri for result in job.results()] == URIS[:16] + URIS[32:48]


def test_images_whose_manifest_is_back_are_scored_again(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS)
    work(ledger, end=lambda item: failed(item, ErrorCode.MANIFEST_LOST) if item.uri in URIS[16:32] else no_face(item))
    assert job.status().failed_by_code == {"manifest_lost": 16}
    opened = open_storage(storage, ledger.connection)
    manifest = opened.read(job.id, "manifest", 1)
    opened.replace(job.id, "manifest", 1, b"garbage")
    assert job.repair().shards == ()
    opened.replace(job.id, "manifest", 1, manifest)
    assert len(job.repair().shards) == 1
    work(ledger)
    assert (job.status().state, job.status().no_face, job.status().failed) == (JobState.SUCCEEDED, 100, 0)


@in_a_folder
def test_a_storage_that_is_not_mounted_is_an_error_and_nothing_is_recreated(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    work(ledger)
    Path(storage).rename(Path(storage).with_name("away"))
    errors: list[StorageError] = []
    with pytest.raises(StorageError):
        job.repair()
    with pytest.raises(StorageError):
        list(client.results(job.id, on_lost=errors.append))
    assert errors == []
    assert job.status().chunks_done == 7
