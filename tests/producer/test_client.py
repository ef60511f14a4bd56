from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa.client import Client
from fiqa.contract import QUEUE, ErrorCode, ImageResult, Item, JobState, Priority
from fiqa.errors import RedisUnavailableError, SettingsError, SourceError, StorageError, UnknownJobError
from fiqa.jobs.submit import Job
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import unpack
from fiqa.storage.storage import open_storage
from tests.conftest import Bucket
from tests.producer.faceless import failed, no_face, work
from tests.waiting import wait_until

URIS = [f"s3://photos/{number}.jpg" for number in range(100)]


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url, storage="redis") as client:
        yield client


# Submit


def test_a_job_runs_once_it_is_submitted_and_a_ticket_waits_for_each_chunk(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS, name="backfill", priority="high")
    assert job == Job(id=job.id, name="backfill", images=100, chunks=7)
    status = client.status(job.id)
    assert (status.state, status.images, status.chunks, status.images_done) == (JobState.RUNNING, 100, 7, 0)
    assert (status.name, status.priority, status.storage) == ("backfill", Priority.HIGH, "redis")
    assert client.jobs() == [status]
    assert ledger.connection.redis.llen(QUEUE) == 7


def test_a_job_is_preparing_while_its_source_is_read(client: Client, ledger: Ledger) -> None:
    states: list[tuple[JobState, int]] = []
    told: list[int] = []

    def source() -> Iterator[str]:
        for number, uri in enumerate(URIS):
            if number in {20, 40}:
                states.append((client.jobs()[0].state, ledger.connection.redis.llen(QUEUE)))
            yield uri

    client.submit(source(), progress=told.append)
    assert states == [(JobState.PREPARING, 0)] * 2
    assert told == [16, 32, 48, 64, 80, 96, 100]


@pytest.mark.parametrize("where", ["redis", "folder", "s3"])
def test_items_reach_the_home_in_order_with_the_callers_ids(
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


def test_no_more_than_2000_tickets_wait_for_a_large_job(client: Client, ledger: Ledger) -> None:
    job = client.submit((f"s3://photos/{number}.jpg" for number in range(2_100)), chunk_size=1)
    assert job.chunks == 2_100
    assert ledger.connection.redis.llen(QUEUE) == 2_000


@pytest.mark.parametrize("source", [[], iter(()), {}])
def test_an_empty_source_makes_no_job(client: Client, ledger: Ledger, source: list[str]) -> None:
    with pytest.raises(SourceError, match=r"^the source holds no images: .* names ending in \.avif, .*\.webp count$"):
        client.submit(source)
    assert ledger.connection.redis.dbsize() == 0


def test_one_string_is_not_taken_for_many(client: Client, ledger: Ledger) -> None:
    with pytest.raises(SourceError, match=r"^submit\(\) takes an iterable of URIs; for one image pass a list of one$"):
        client.submit("s3://photos/a.jpg")
    assert ledger.connection.redis.dbsize() == 0


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("photos/a.jpg", "'photos/a.jpg' is no URI: s3://bucket/key or file:///path"),
        (Item(uri="/data/a.jpg"), "'/data/a.jpg' is no URI"),
        ("https://host/a.jpg?sig=x", "workers read s3:// and file:///, and no https://"),
        ("", "at least 1 character"),
        ("s3://b/" + "x" * 5000, "at most 4096 characters"),
        (None, "valid string"),
        (b"s3://b/k\xff", "valid string"),
    ],
)
@pytest.mark.parametrize("before", [0, 50])
def test_an_entry_that_is_no_uri_is_named_and_leaves_no_job(
    client: Client, ledger: Ledger, entry: str, why: str, before: int
) -> None:
    with pytest.raises(SourceError, match=rf"^entry {before}: [^\n]+$") as caught:
        client.submit([*URIS[:before], entry, *URIS])
    assert why in str(caught.value)
    assert ledger.connection.redis.dbsize() == 0


def test_a_source_that_fails_half_way_leaves_no_job(client: Client, ledger: Ledger) -> None:
    def source() -> Iterator[str]:
        yield from URIS
        raise LookupError("the database went away")

    with pytest.raises(LookupError, match="the database went away"):
        client.submit(source())
    assert ledger.connection.redis.dbsize() == 0


def test_a_home_that_cannot_be_written_leaves_no_job(redis_url: str, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        Client(redis_url, storage=str(tmp_path / "file")) as client,
        pytest.raises(StorageError, match=r"^cannot write "),
    ):
        client.submit(URIS)
    assert ledger.connection.redis.dbsize() == 0


def test_an_unknown_priority_makes_no_job(client: Client, ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="urgent"):
        client.submit(URIS, priority="urgent")
    assert ledger.connection.redis.dbsize() == 0


# Connections


def test_a_client_is_shared_by_threads(client: Client, ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as pool:
        jobs = list(pool.map(lambda _: client.submit(URIS), range(12)))
    assert len({job.id for job in jobs}) == 12
    assert ledger.connection.redis.llen(QUEUE) >= 12 * 7  # two that see the same gap both fill it
    work(ledger)
    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda job: len(list(client.results(job.id))), jobs))
    assert counts == [100] * 12


def test_a_client_goes_on_after_its_connections_were_cut(client: Client, ledger: Ledger) -> None:
    client.submit(URIS)
    ledger.connection.redis.client_kill_filter(_type="normal", skipme=True)
    client.submit(URIS)
    assert ledger.connection.redis.llen(QUEUE) == 14


def test_a_closed_client_holds_no_connection(redis_url: str, ledger: Ledger) -> None:
    def connections() -> set[str]:
        return {connection["id"] for connection in ledger.connection.redis.client_list()}

    with Client(redis_url, storage="redis") as first:
        first.submit(URIS)  # kombu keeps one connection to a broker for the whole process
    before = connections()
    with Client(redis_url, storage="redis") as client:
        client.submit(URIS)
        assert connections() - before
    wait_until(lambda: connections() <= before)


def test_a_client_connects_at_first_use() -> None:
    with (
        Client("redis://127.0.0.1:1/0", storage="redis") as client,
        pytest.raises(RedisUnavailableError, match=r"^cannot"),
    ):
        client.submit(URIS)


def test_settings_come_from_the_environment(
    redis_url: str, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", redis_url)
    monkeypatch.setenv("FIQA_STORAGE", str(tmp_path))
    with Client() as client:
        assert client.status(client.submit(URIS).id).storage == str(tmp_path)
    assert ledger.connection.redis.llen(QUEUE) == 7


@pytest.mark.parametrize("given", [{"redis_url": "localhost"}, {"storage": "ftp://store"}, {"storage": ""}])
def test_wrong_settings_are_found_before_anything_is_done(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^FIQA_(REDIS_URL|STORAGE): [^\n]+$"):
        Client(**given)


# Progress


@pytest.mark.parametrize("ask", ["status", "wait", "results", "watch"])
def test_an_unknown_job_is_told_at_once(client: Client, ask: str) -> None:
    for job_id in (new_job_id(), "no-id"):
        with pytest.raises(UnknownJobError, match=r"^[^\n]+$"):
            list(getattr(client, ask)(job_id))


def test_wait_returns_the_final_status(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    worker = threading.Thread(target=work, args=(ledger,))
    worker.start()
    status = client.wait(job.id, timeout_s=60)
    worker.join()
    assert (status.state, status.no_face, status.images_done) == (JobState.SUCCEEDED, 100, 100)
    assert client.wait(job.id, timeout_s=0) == client.status(job.id)


def test_wait_gives_up_and_the_job_goes_on(client: Client) -> None:
    job = client.submit(URIS)
    client.ledger.heartbeat(seconds=60)
    with pytest.raises(TimeoutError, match=rf"^job {job.id} is running after 0\.1 s; it goes on$"):
        client.wait(job.id, timeout_s=0.1)
    assert client.status(job.id).state is JobState.RUNNING


# Results


def test_results_come_in_the_order_of_the_source(client: Client, ledger: Ledger) -> None:
    items = [Item(uri=uri, id=f"id of {uri}") for uri in URIS]
    job = client.submit(items)
    work(ledger)
    assert list(client.results(job.id)) == [no_face(item) for item in items]


def test_results_are_there_chunk_by_chunk_while_the_job_runs(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    assert list(client.results(job.id)) == []
    work(ledger, chunks=2)
    assert [result.uri for result in client.results(job.id)] == URIS[:32]
    assert [len(shard) for shard in client.result_shards(job.id)] == [16, 16]


def test_following_results_yields_each_once_until_the_job_ends(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=1)
    uris: list[str] = []
    told: list[int] = []
    for shard in client.result_shards(job.id, follow=True, on_status=lambda status: told.append(status.images_done)):
        uris += [ImageResult.decode(line).uri for line in shard]
        work(ledger, chunks=1)
    assert uris == URIS
    assert told == sorted(told)
    assert told[-1] == 100


def test_failures_come_back_with_their_uri_and_code(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS[:1])
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    (result,) = client.results(job.id)
    assert result == failed(Item(uri=URIS[0]), ErrorCode.NOT_FOUND)
    assert client.status(job.id).failed_by_code == {"not_found": 1}


def test_a_lost_shard_is_one_line(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger)
    ledger.connection.redis.hdel(f"fiqa:job:{job.id}:results", 3)
    with pytest.raises(StorageError, match=rf"^results 3 of job {job.id} is not in Redis: [^\n]+$"):
        list(client.results(job.id))


def test_every_key_of_a_job_from_beginning_to_end_says_whose_it_is(client: Client, ledger: Ledger) -> None:
    def parts() -> set[str]:
        return {key.decode().replace(job.id, "JOB") for key in ledger.connection.redis.scan_iter()}

    brokers = {"_kombu.binding.fiqa", "_kombu.binding_permanent.fiqa"}
    job = client.submit(URIS)
    started = {"fiqa:jobs", "fiqa:due", "fiqa:job:JOB", "fiqa:job:JOB:manifest", "fiqa"}
    assert parts() - brokers == started

    work(ledger, chunks=1)
    ledger.claim()
    done = {"fiqa:job:JOB:done", "fiqa:job:JOB:pace", "fiqa:job:JOB:results"}
    assert parts() - brokers == started | done | {"fiqa:leases", "fiqa:job:JOB:attempts", "fiqa:job:JOB:holders"}

    work(ledger)
    for lease in ledger.connection.redis.zrange("fiqa:leases", 0, -1):
        ledger.connection.redis.zadd("fiqa:leases", {lease: 1})
    work(ledger)
    ledger.connection.redis.delete(QUEUE)  # the tickets, which no worker took in this test
    assert parts() - brokers == done | {"fiqa:jobs", "fiqa:job:JOB", "fiqa:job:JOB:manifest"}
