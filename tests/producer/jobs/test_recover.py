from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode, JobSpec, JobState
from fiqa.errors import ContractError, JobStateError, StorageError, UnknownJobError
from fiqa.jobs.summary import write_summary
from fiqa.ledger.claims import Counts
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import pack
from fiqa.storage.storage import open_storage
from tests.keys import QUEUE
from tests.producer.faceless import failed, work
from tests.producer.jobs.one_hundred import URIS, in_a_folder, outside_redis


@outside_redis
def test_a_job_is_recovered_after_redis_was_lost_and_continues(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS, name="backfill", priority="high", max_failed=0.9, measures=True, min_face_px=40)
    work(ledger, chunks=2, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    before = client.status(job.id)
    ledger.connection.redis.flushall()
    assert client.recoverable() == [job.id]

    counts: list[tuple[int, int]] = []
    after = client.recover(job.id, lambda done, shards: counts.append((done, shards)))
    assert counts == [(1, 2), (2, 2)]
    for name in ("name", "state", "images", "chunks", "chunks_done", "failed_by_code", "priority", "storage", "models"):
        assert getattr(after, name) == getattr(before, name)
    assert after.options == before.options == {"measures": True, "min_face_px": 40}
    assert after.created == pytest.approx(before.created, abs=0.002)
    assert client.recoverable() == []
    assert ledger.connection.redis.llen(QUEUE) >= 5
    with pytest.raises(JobStateError, match=r"is in Redis already"):
        client.recover(job.id)
    work(ledger)
    assert client.status(job.id).state is JobState.SUCCEEDED
    assert [result.uri for result in client.results(job.id)] == URIS


@in_a_folder
@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED])
def test_a_job_that_had_ended_is_recovered_in_the_same_state(client: Client, ledger: Ledger, state: JobState) -> None:
    uris = [f"s3://images/{number}.jpg" for number in range(3000)]
    job = client.submit(uris)
    if state is JobState.FAILED:
        work(ledger, chunks=20, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    elif state is JobState.CANCELLED:
        work(ledger, chunks=20)
        client.cancel(job.id)
    work(ledger)
    write_summary(job.id, ledger=ledger, open_storage=lambda url: open_storage(url, ledger.connection))
    before = client.status(job.id)
    assert before.state is state
    ledger.connection.redis.flushall()
    after = client.recover(job.id)
    assert (after.state, after.reason, after.images_done) == (state, before.reason, before.images_done)
    assert ledger.claim() is None


def test_a_job_whose_opening_was_lost_is_listed_and_recovered(
    client: Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that was promoted has all but the last command."""
    redis = ledger.connection.redis
    copies: dict[bytes, bytes] = {}
    real = Ledger.open

    def opening(self: Ledger, *arguments: Any, **options: Any) -> None:
        copies.update({key: redis.dump(key) for key in redis.scan_iter()})
        real(self, *arguments, **options)

    monkeypatch.setattr(Ledger, "open", opening)
    job = client.submit(URIS)
    redis.flushall()
    for key, copy in copies.items():
        redis.restore(key, 0, copy)
    assert job.status().state is JobState.PREPARING
    assert client.recoverable() == [job.id]
    client.recover(job.id)
    assert client.recoverable() == []
    work(ledger)
    assert job.status().state is JobState.SUCCEEDED
    assert [result.uri for result in job.results()] == URIS


@in_a_folder
def test_a_job_whose_submit_was_interrupted_cannot_be_recovered(client: Client, ledger: Ledger) -> None:
    def interrupted() -> Iterator[str]:
        yield from URIS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.submit(interrupted())
    (job_id,) = (job.id for job in client.jobs())
    ledger.connection.redis.flushall()
    for unknown in (job_id, new_job_id()):
        with pytest.raises(UnknownJobError, match=rf"^no job.json of job {unknown} in [^\n]+$"):
            client.recover(unknown)
    assert ledger.connection.redis.keys() == []


@in_a_folder
@pytest.mark.parametrize("data", [b"garbage", pack([b"{}"]), pack([b'{"uri":1}'] * 16)], ids=["1", "2", "3"])
def test_a_damaged_shard_is_named_left_out_and_recreated(
    client: Client, ledger: Ledger, storage: str, data: bytes
) -> None:
    job = client.submit(URIS)
    work(ledger)
    results = list(job.results())
    ledger.connection.redis.flushall()
    (Path(storage) / "jobs" / job.id / "results" / "00000003.jsonl.gz").write_bytes(data)
    errors: list[StorageError] = []
    status = client.recover(job.id, on_lost=errors.append)
    assert (status.state, status.chunks_done, status.no_face) == (JobState.RUNNING, 6, 84)
    (error,) = errors
    assert str(error).startswith(f"results 3 of job {job.id} is damaged: ")
    work(ledger)
    assert job.status().state is JobState.SUCCEEDED
    assert list(job.results()) == results


@in_a_folder
def test_a_recovery_that_was_killed_can_be_repeated_and_nothing_is_deleted(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=3)
    ledger.connection.redis.flushall()
    document = open_storage(storage, ledger.connection).read_document(job.id, "job")
    assert document is not None
    ledger.create(JobSpec.decode(document), storage=str(open_storage(storage, ledger.connection).url))
    ledger.complete(job.id, 0, Counts(0, 16, 0, {}, {}))  # here the recovery was killed
    for refused in (lambda: client.delete(job.id), lambda: client.submit(URIS, resume_id=job.id)):
        with pytest.raises(JobStateError, match=rf"its recovery was interrupted: `fiqa recover {job.id}`$"):
            refused()
    status = client.recover(job.id)
    assert (status.state, status.chunks_done, status.no_face) == (JobState.RUNNING, 3, 48)


@in_a_folder
def test_the_error_for_a_damaged_summary_is_one_line(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS)
    ledger.connection.redis.flushall()
    open_storage(storage, ledger.connection).write_document(job.id, "summary", bytes(20))
    with pytest.raises(StorageError, match=rf"^summary.json of job {job.id} in {storage} is damaged: [^\n]+$"):
        client.recover(job.id)
    assert client.jobs() == []


@in_a_folder
def test_the_job_json_of_another_job_is_refused(client: Client, ledger: Ledger, storage: str) -> None:
    job, other = client.submit(URIS), client.submit(URIS)
    ledger.connection.redis.flushall()
    jobs = Path(storage) / "jobs"
    (jobs / job.id / "job.json").write_bytes((jobs / other.id / "job.json").read_bytes())
    with pytest.raises(ContractError, match=rf"^job.json of job {job.id} in [^\n]+ is of job {other.id}: "):
        client.recover(job.id)
    assert client.jobs() == []
