from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path

import pytest

from fiqa.client import Client
from fiqa.contract import Item, JobState, Priority
from fiqa.errors import JobStateError, SourceError, StorageError, UnknownJobError
from fiqa.jobs.submit import chunked
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import pack, unpack
from fiqa.storage.storage import open_storage
from tests.conftest import Bucket
from tests.keys import KEYS, QUEUE
from tests.producer.faceless import work
from tests.producer.jobs.one_hundred import URIS, in_redis, wait_until_written


@in_redis
def test_a_job_runs_once_it_is_submitted_and_a_ticket_waits_for_each_chunk(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS, name="backfill", priority="high")
    assert (job.name, job.images, job.chunks) == ("backfill", 100, 7)
    status = client.status(job.id)
    assert (status.state, status.images, status.chunks, status.images_done) == (JobState.RUNNING, 100, 7, 0)
    assert (status.name, status.priority, status.storage) == ("backfill", Priority.HIGH, "redis")
    assert client.jobs() == [status]
    assert ledger.connection.redis.llen(QUEUE) == 7


@in_redis
def test_a_job_whose_new_id_is_taken_gets_another_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = client.submit(URIS).id
    monkeypatch.setattr("fiqa.client.new_job_id", lambda: taken)
    job = client.submit(URIS[:3])
    assert job.id != taken
    assert [client.status(each).images for each in (taken, job.id)] == [100, 3]


@in_redis
def test_a_job_is_preparing_while_its_source_is_read(client: Client, ledger: Ledger) -> None:
    states: list[tuple[JobState, int]] = []
    counts: list[int] = []

    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number in {20, 40}:
                states.append((client.jobs()[0].state, ledger.connection.redis.llen(QUEUE)))
            yield uri

    client.submit(source(), progress=counts.append)
    assert states == [(JobState.PREPARING, 0)] * 2
    assert counts == [16, 32, 48, 64, 80, 96, 100]


@pytest.mark.parametrize("where", ["redis", "folder", "s3"])
def test_items_reach_the_storage_in_order_with_the_callers_ids(
    redis_url: str, ledger: Ledger, tmp_path: Path, request: pytest.FixtureRequest, where: str
) -> None:
    url = where
    if where == "folder":
        url = str(tmp_path)
    elif where == "s3":
        request.getfixturevalue("s3_env")
        bucket: Bucket = request.getfixturevalue("bucket")
        url = bucket.uri("team")
    items = [Item(uri=uri, id=str(number)) for number, uri in enumerate(URIS)]

    with Client(redis_url, storage=url) as client:
        job = client.submit((item if number % 2 else item.uri for number, item in enumerate(items)), chunk_size=30)
        storage = open_storage(client.status(job.id).storage, ledger.connection)

    shards = [unpack(storage.read(job.id, "manifest", chunk)) for chunk in range(job.chunks)]
    assert [len(shard) for shard in shards] == [30, 30, 30, 10]
    assert [Item.decode(line) for shard in shards for line in shard] == [
        item if number % 2 else Item(uri=item.uri) for number, item in enumerate(items)
    ]


@in_redis
def test_no_more_than_2000_tickets_wait_for_a_large_job(client: Client, ledger: Ledger) -> None:
    job = client.submit((f"s3://images/{number}.jpg" for number in range(2_100)), chunk_size=1)
    assert job.chunks == 2_100
    assert ledger.connection.redis.llen(QUEUE) == 2_000


@in_redis
@pytest.mark.parametrize("source", [[], iter(()), {}])
def test_an_empty_source_makes_no_job(client: Client, ledger: Ledger, source: list[str]) -> None:
    with pytest.raises(SourceError, match=r"^the source holds no images: .* a name that ends in \.avif, .*\.webp$"):
        client.submit(source)
    assert ledger.connection.redis.dbsize() == 0


@in_redis
@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("images/a.jpg", "'images/a.jpg' is not a URI: s3://bucket/key or file:///path"),
        (Item(uri="/data/a.jpg"), "'/data/a.jpg' is not a URI"),
        ("https://host/a.jpg?sig=x", "workers read s3:// and file:///, not https://"),
        ("", "at least 1 character"),
        ("s3://b/" + "x" * 5000, "at most 4096 characters"),
        (None, "valid string"),
        (b"s3://b/k\xff", "valid string"),
    ],
)
@pytest.mark.parametrize("before", [0, 50])
def test_an_item_that_is_not_a_uri_is_named_and_leaves_no_job(
    client: Client, ledger: Ledger, item: str, why: str, before: int
) -> None:
    with pytest.raises(SourceError, match=rf"^item {before}: [^\n]+$") as caught:
        client.submit([*URIS[:before], item, *URIS])
    assert why in str(caught.value)
    assert ledger.connection.redis.dbsize() == 0


@in_redis
def test_a_source_that_fails_halfway_leaves_no_job(client: Client, ledger: Ledger) -> None:
    def source() -> Iterator[str]:
        yield from URIS
        raise LookupError("the database went away")

    with pytest.raises(LookupError, match="the database went away"):
        client.submit(source())
    assert ledger.connection.redis.dbsize() == 0


def test_a_storage_that_cannot_be_written_leaves_no_job(redis_url: str, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        Client(redis_url, storage=str(tmp_path / "file")) as client,
        pytest.raises(StorageError, match=r"^cannot write "),
    ):
        client.submit(URIS)
    assert ledger.connection.redis.dbsize() == 0


@in_redis
def test_a_job_cancelled_while_it_is_submitted_leaves_nothing(client: Client, ledger: Ledger) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                client.cancel(client.jobs()[0].id)
            yield uri

    with pytest.raises(JobStateError, match=r"is cancelled: only one that is `preparing` can be opened$"):
        client.submit(source())
    assert ledger.connection.redis.keys(f"{KEYS.job_prefix}*") == []


# An interrupted submit


@pytest.mark.parametrize("then", ["delete", "resume"])
def test_an_interrupted_submit_is_left_preparing_and_can_be_deleted_or_resumed(
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


# Two submits of one job


def test_a_late_submit_changes_nothing_in_a_job_that_was_submitted_again_and_done(
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


def test_a_late_submit_changes_nothing_in_a_job_that_another_submit_has_replaced(
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


def test_two_submits_of_one_job_at_the_same_time_never_mix_their_images(
    client: Client, ledger: Ledger, storage: str
) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:  # another submit had this write in flight when this one began
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


def test_two_submits_of_one_job_with_the_same_source_make_one_job(client: Client, ledger: Ledger, storage: str) -> None:
    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number == 50:
                lines = [Item(uri=uri).encode() for uri in URIS[80:96]]
                open_storage(storage, ledger.connection).write_once(client.jobs()[0].id, "manifest", 5, pack(lines))
            yield uri

    job = client.submit(source())
    work(ledger)
    assert [result.uri for result in client.results(job.id)] == URIS


# Chunks


def sizes(images: int, size: int | None = None) -> Sequence[tuple[int, int]]:
    """Return the chunk sizes of a job, as runs of (size, how many)."""
    chunks = chunked((Item(uri="s3://b/k") for _ in range(images)), size=size)
    return [(length, len(list(run))) for length, run in groupby(map(len, chunks))]


def test_chunks_start_small_and_double_up_to_256() -> None:
    assert sizes(0) == []
    assert sizes(1) == [(1, 1)]
    assert sizes(100) == [(16, 6), (4, 1)]
    assert sizes(8 * (16 + 32 + 64 + 128) + 20 * 256 + 1) == [(16, 8), (32, 8), (64, 8), (128, 8), (256, 20), (1, 1)]


def test_chunks_of_a_fixed_size_stay_at_it() -> None:
    assert sizes(1000, size=7) == [(7, 142), (6, 1)]
    assert sizes(1000, size=1000) == [(1000, 1)]
    assert sizes(3, size=1) == [(1, 3)]


def test_chunks_keep_the_order_and_take_no_more_than_they_need() -> None:
    numbers = count()
    chunks = chunked(Item(uri=f"s3://b/{number}") for number in numbers)
    assert [item.uri for item in next(chunks)] == [f"s3://b/{number}" for number in range(16)]
    assert next(numbers) == 16
