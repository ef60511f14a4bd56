"""A job's controls through the client, on each storage; nothing is scored."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiqa.client import Client
from fiqa.contract import QUEUE, ErrorCode, ImageResult, Item, JobSpec, JobState, Priority
from fiqa.errors import (
    JobStateError,
    RedisUnavailableError,
    SettingsError,
    SourceError,
    StorageError,
    UnknownJobError,
)
from fiqa.jobs.summary import write_summaries
from fiqa.ledger.claims import Counts
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import pack
from fiqa.storage.storage import open_storage
from tests.producer.faceless import failed, no_face, work
from tests.waiting import wait_until

URIS = [f"s3://photos/{number}.jpg" for number in range(100)]


@pytest.fixture(params=["redis", "folder", "s3"])
def storage(request: pytest.FixtureRequest) -> str:
    if request.param == "folder":
        return str(request.getfixturevalue("tmp_path") / "storage")
    if request.param == "s3":
        request.getfixturevalue("s3_env")
        return str(request.getfixturevalue("bucket").uri("fiqa"))
    return "redis"


@pytest.fixture
def client(redis_url: str, storage: str) -> Iterator[Client]:
    with Client(redis_url, storage) as client:
        yield client


in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)
in_redis = pytest.mark.parametrize("storage", ["redis"], indirect=True)


# Pause, resume, cancel, delete


@in_redis
def test_a_job_is_paused_and_goes_on(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=2)
    assert client.pause(job.id).state is JobState.PAUSED
    assert ledger.claim() is None
    ledger.connection.redis.delete(QUEUE)
    assert client.resume(job.id).state is JobState.RUNNING
    assert ledger.connection.redis.llen(QUEUE) == 5  # a ticket for each chunk that is left
    work(ledger)
    assert client.status(job.id).state is JobState.SUCCEEDED
    assert [result.uri for result in client.results(job.id)] == URIS


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


@in_redis
def test_a_job_that_is_unknown_cannot_be_controlled(client: Client) -> None:
    for control in (client.pause, client.resume, client.cancel, client.delete, client.retry):
        with pytest.raises(UnknownJobError):
            control(new_job_id())


@in_redis
def test_a_job_cancelled_while_it_is_submitted_leaves_nothing(client: Client, ledger: Ledger) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                client.cancel(client.jobs()[0].id)
            yield uri

    with pytest.raises(JobStateError, match=r"is cancelled: only one that is `preparing` can be opened$"):
        client.submit(source())
    assert ledger.connection.redis.keys("fiqa:job*") == []


# An interrupted submit


@pytest.mark.parametrize("then", ["delete", "resume"])
def test_an_interrupted_submit_is_left_preparing_and_can_be_dealt_with(
    client: Client, ledger: Ledger, storage: str, then: str
) -> None:
    def interrupted() -> Iterator[str]:
        yield from URIS[::-1][:70]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        client.submit(interrupted(), name="half")
    (status,) = client.jobs()
    assert status.state is JobState.PREPARING
    (note,) = caught.value.__notes__
    assert f"--resume-id {status.id}" in note
    assert f"`fiqa delete {status.id}`" in note
    assert ledger.claim() is None

    if then == "delete":
        client.delete(status.id)
        assert client.jobs() == []
        assert open_storage(storage, ledger.connection).chunks(status.id, "manifest") == []
    else:
        job = client.submit(URIS, resume_id=status.id)
        assert (job.id, job.images) == (status.id, 100)
        work(ledger)
        assert [result.uri for result in client.results(job.id)] == URIS


@in_redis
def test_only_a_job_that_is_preparing_can_be_submitted_again(client: Client) -> None:
    job = client.submit(URIS)
    with pytest.raises(JobStateError, match=r"is running: only one that is `preparing` can be submitted again$"):
        client.submit(URIS, resume_id=job.id)
    with pytest.raises(UnknownJobError):
        client.submit(URIS, resume_id=new_job_id())
    assert client.status(job.id).images == 100


@in_redis
@pytest.mark.parametrize(
    ("name", "value"), [("max_failed", 1.5), ("keep_s", 0.0), ("chunk_size", 0), ("chunk_size", 10_001)]
)
def test_a_number_out_of_range_is_one_line_and_makes_no_job(client: Client, name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}[^\n]+$"):
        client.submit(URIS, **{name: value})  # type: ignore[arg-type]
    assert client.jobs() == []


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
    assert ledger.connection.redis.keys("fiqa:job:*") == []


def test_a_late_submit_takes_nothing_from_the_job_that_was_submitted_again_meanwhile(
    client: Client, ledger: Ledger
) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                wait_until_written(client, 3)
                client.submit(URIS[:30], resume_id=client.jobs()[0].id)
                work(ledger)
            yield uri

    with pytest.raises(JobStateError, match="is succeeded"):
        client.submit(source())
    (status,) = client.jobs()
    assert (status.state, status.images) == (JobState.SUCCEEDED, 30)
    assert len(list(client.results(status.id))) == 30


def test_a_late_submit_leaves_the_job_that_is_submitted_again_to_the_one_that_took_it_over(
    client: Client, ledger: Ledger
) -> None:
    def interrupted() -> Iterator[str]:
        yield from URIS[:40]
        raise KeyboardInterrupt

    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                wait_until_written(client, 3)
                with pytest.raises(KeyboardInterrupt):
                    client.submit(interrupted(), resume_id=client.jobs()[0].id)
            yield uri

    with pytest.raises(JobStateError, match="was replaced"):
        client.submit(source())
    (status,) = client.jobs()
    assert status.state is JobState.PREPARING
    job = client.submit(URIS[:40], resume_id=status.id)
    work(ledger)
    assert [result.uri for result in client.results(job.id)] == URIS[:40]


def test_two_submits_of_one_job_at_once_never_mix_their_images(client: Client, ledger: Ledger, storage: str) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:  # what another submit had under way when this one began
                open_storage(storage, ledger.connection).write_once(
                    client.jobs()[0].id, "manifest", 5, pack([b"other"])
                )
            yield uri

    with pytest.raises(JobStateError, match=r"too, with other images: stop that one\n") as caught:
        client.submit(source())
    (status,) = client.jobs()
    assert status.state is JobState.PREPARING
    (note,) = caught.value.__notes__
    assert f"--resume-id {status.id}" in note
    job = client.submit(URIS, resume_id=status.id)
    work(ledger)
    assert [result.uri for result in client.results(job.id)] == URIS


def test_two_submits_of_one_job_that_read_the_same_source_are_one(client: Client, ledger: Ledger, storage: str) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                lines = [Item(uri=uri).encode() for uri in URIS[80:96]]
                open_storage(storage, ledger.connection).write_once(client.jobs()[0].id, "manifest", 5, pack(lines))
            yield uri

    job = client.submit(source())
    work(ledger)
    assert [result.uri for result in client.results(job.id)] == URIS


def wait_until_written(client: Client, chunks: int) -> None:
    """Of the only job's manifest."""
    (status,) = client.jobs()
    storage = open_storage(status.storage, client.ledger.connection)
    wait_until(lambda: len(storage.chunks(status.id, "manifest")) == chunks)


# Retry


def test_a_retry_is_a_new_job_of_the_failed_images_that_names_its_parent(client: Client, ledger: Ledger) -> None:
    codes = {5: ErrorCode.FETCH_FAILED, 50: ErrorCode.NOT_FOUND, 99: ErrorCode.INTERNAL_ERROR}

    def end(item: Item) -> ImageResult:
        number = int(str(item.id))
        return failed(item, codes[number]) if number in codes else no_face(item)

    items = [Item(uri=uri, id=str(number), version="v1") for number, uri in enumerate(URIS)]
    job = client.submit(items, name="backfill", priority="low", max_failed=0.9, keep_s=3600)
    with pytest.raises(JobStateError, match=r"is running: only a finished one can be retried$"):
        client.retry(job.id)
    work(ledger, end=end)

    again = client.retry(job.id)
    status = client.status(again.id)
    assert (status.parent, status.name, status.priority, status.images) == (job.id, "backfill", Priority.LOW, 2)
    assert (status.max_failed, status.keep_s) == (0.9, 3600)
    work(ledger)
    assert list(client.results(again.id)) == [no_face(items[number]) for number in (5, 99)]
    whole = client.retry(job.id, all_failed=True)
    assert whole.images == 3


@in_redis
def test_a_job_without_images_to_retry_is_one_line_that_says_what_there_is(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger)
    with pytest.raises(SourceError, match=rf"^job {job.id} has no images to retry: none failed$"):
        client.retry(job.id)
    job = client.submit(URIS)
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    with pytest.raises(SourceError, match=r": 100 not_found: none of these may succeed [^\n]+ --all [^\n]+$"):
        client.retry(job.id)


# The end, and what is left of it


@pytest.mark.parametrize("storage", ["folder", "s3"], indirect=True)
def test_a_finished_job_has_a_summary_beside_its_results(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS, name="backfill")
    work(ledger, chunks=6)
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    assert write_summaries(ledger) == 1
    assert write_summaries(ledger) == 0
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
    ledger.connection.redis.hset(f"fiqa:job:{job.id}", "storage", "/dev/null/home")
    other = client.submit(URIS)
    work(ledger)
    with pytest.raises(StorageError):
        write_summaries(ledger)
    assert ledger.ended() == [job.id]
    assert open_storage(storage, ledger.connection).read_document(other.id, "summary") is not None
    ledger.connection.redis.hset(f"fiqa:job:{job.id}", "storage", storage)
    assert write_summaries(ledger) == 1


@pytest.mark.parametrize("storage", ["folder", "s3"], indirect=True)
def test_a_summary_that_comes_after_its_job_was_deleted_does_not_stay(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    client.cancel(job.id)
    open_storage(storage, ledger.connection).delete(
        job.id
    )  # the first half of `delete`, and before the second the reconciler comes
    write_summaries(ledger)
    ledger.control(job.id, Control.DELETE)
    assert open_storage(storage, ledger.connection).read_document(job.id, "summary") is None
    assert client.recoverable() == []


# Recover


@pytest.mark.parametrize("storage", ["folder", "s3"], indirect=True)
def test_a_job_is_recovered_after_redis_was_lost_and_goes_on(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS, name="backfill", priority="high", max_failed=0.9)
    work(ledger, chunks=2, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    before = client.status(job.id)
    ledger.connection.redis.flushall()
    assert client.recoverable() == [job.id]

    told: list[tuple[int, int]] = []
    after = client.recover(job.id, lambda done, shards: told.append((done, shards)))
    assert told == [(1, 2), (2, 2)]
    for name in ("name", "state", "images", "chunks", "chunks_done", "failed_by_code", "priority", "storage", "models"):
        assert getattr(after, name) == getattr(before, name)
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
def test_a_job_that_had_ended_is_recovered_as_it_ended(client: Client, ledger: Ledger, state: JobState) -> None:
    uris = [f"s3://photos/{number}.jpg" for number in range(3000)]
    job = client.submit(uris)
    if state is JobState.FAILED:
        work(ledger, chunks=20, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    elif state is JobState.CANCELLED:
        work(ledger, chunks=20)
        client.cancel(job.id)
    work(ledger)
    write_summaries(ledger)
    before = client.status(job.id)
    assert before.state is state
    ledger.connection.redis.flushall()
    after = client.recover(job.id)
    assert (after.state, after.reason, after.images_done) == (state, before.reason, before.images_done)
    assert ledger.claim() is None


@in_a_folder
def test_a_job_that_was_never_submitted_whole_cannot_be_recovered(client: Client, ledger: Ledger) -> None:
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
def test_a_damaged_shard_stops_a_recovery_and_leaves_no_half_of_it(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    work(ledger)
    ledger.connection.redis.flushall()
    (Path(storage) / "jobs" / job.id / "results" / "00000003.jsonl.gz").write_bytes(b"garbage")
    with pytest.raises(StorageError, match="damaged"):
        client.recover(job.id)
    assert client.jobs() == []


@in_a_folder
def test_a_recovery_that_was_killed_is_taken_up_again_and_nothing_is_deleted(
    client: Client, ledger: Ledger, storage: str
) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=3)
    ledger.connection.redis.flushall()
    document = open_storage(storage, ledger.connection).read_document(job.id, "job")
    assert document is not None
    ledger.create(JobSpec.decode(document), storage=str(open_storage(storage, ledger.connection).url))
    ledger.complete(job.id, 0, Counts(0, 16, 0, {}, {}))  # and here it was killed
    for refused in (lambda: client.delete(job.id), lambda: client.submit(URIS, resume_id=job.id)):
        with pytest.raises(JobStateError, match=rf"its recovery was interrupted: `fiqa recover {job.id}`$"):
            refused()
    status = client.recover(job.id)
    assert (status.state, status.chunks_done, status.no_face) == (JobState.RUNNING, 3, 48)


@in_a_folder
def test_a_damaged_summary_is_one_line(client: Client, ledger: Ledger, storage: str) -> None:
    job = client.submit(URIS)
    ledger.connection.redis.flushall()
    open_storage(storage, ledger.connection).write_document(job.id, "summary", bytes(20))
    with pytest.raises(StorageError, match=r"^summary.json is damaged: [^\n]+$"):
        client.recover(job.id)
    assert client.jobs() == []


# One image, now


@in_a_folder
def test_one_image_is_scored_before_all_others_and_leaves_no_job(client: Client, ledger: Ledger) -> None:
    client.submit(URIS)

    def work_on_it() -> None:
        # Not before it is open: the chunk that is claimed would be one of the other job.
        wait_until(lambda: any(job.name == "score" and job.state is JobState.RUNNING for job in ledger.jobs()))
        work(ledger, 1)

    worker = threading.Thread(target=work_on_it)
    worker.start()
    result = client.score("s3://photos/now.jpg", timeout_s=60)
    worker.join()
    assert result == no_face(Item(uri="s3://photos/now.jpg"))
    assert [job.images for job in client.jobs()] == [100]


@in_redis
def test_an_image_that_nobody_scores_in_time_is_given_up(client: Client) -> None:
    with pytest.raises(TimeoutError, match=r"; no worker runs: start `fiqa worker`$"):
        client.score("s3://photos/now.jpg", timeout_s=0.2)
    assert client.jobs() == []
    with pytest.raises(SourceError, match="is no URI"):
        client.score("now.jpg")


@in_redis
def test_what_is_asked_of_a_redis_that_is_down_is_one_line(client: Client) -> None:
    del client
    with Client("redis://127.0.0.1:1/0", "redis") as down:
        for ask in (down.jobs, down.recoverable, lambda: down.score("s3://b/k.jpg"), lambda: down.submit(URIS)):
            with pytest.raises(RedisUnavailableError, match=r"^cannot reach Redis [^\n]+$"):
                ask()
