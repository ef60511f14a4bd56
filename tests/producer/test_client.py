from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode, ImageResult, Item, JobState
from fiqa.errors import RedisUnavailableError, SettingsError, SourceError, StorageError, UnknownJobError, UsageError
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from tests.keys import EXPIRING, KEYS, QUEUE, job_key
from tests.producer.faceless import failed, no_face, work
from tests.producer.jobs.one_hundred import URIS
from tests.producer.ledger.ledger_jobs import beat
from tests.servers import free_ports, start_redis
from tests.waiting import WAIT_S, wait_until


# Arguments
def test_a_single_string_is_refused(client: Client, ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=r"^submit\(\) takes an iterable of URIs; for one image pass a list of one$"):
        client.submit("s3://images/a.jpg")
    assert ledger.connection.redis.dbsize() == 0


def test_an_unknown_priority_makes_no_job(client: Client, ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=r"^priority is 'urgent': it is one of high, normal, low$"):
        client.submit(URIS, priority="urgent")
    assert ledger.connection.redis.dbsize() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_failed", 1.5),
        ("keep_s", 0.0),
        ("chunk_size", 0),
        ("chunk_size", 10_001),
        ("min_face_px", 0),
        ("max_faces", 0),
    ],
)
def test_the_error_for_a_number_out_of_range_is_one_line_and_makes_no_job(
    client: Client, name: str, value: float
) -> None:
    with pytest.raises(UsageError, match=rf"^{name}[^\n]+$"):
        client.submit(URIS, **{name: value})  # type: ignore[arg-type]
    assert client.jobs() == []


# Lost tickets
def test_a_status_replaces_lost_tickets_if_no_worker_runs_to_do_it(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    redis = ledger.connection.redis
    tickets = redis.llen(QUEUE)
    redis.delete(QUEUE)
    beat(ledger)
    job.status()
    assert redis.llen(QUEUE) == 0
    beat(ledger, seconds=0.01)
    wait_until(lambda: not job.status().workers_run)
    assert redis.llen(QUEUE) == tickets
    job.status()
    assert redis.llen(QUEUE) == tickets


def test_watching_replaces_lost_tickets_too(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    statuses = client.watch(job.id)
    next(statuses)
    ledger.connection.redis.delete(QUEUE)
    next(statuses)
    assert ledger.connection.redis.llen(QUEUE) > 0


# Connections and settings
def test_a_client_is_shared_by_threads(client: Client, ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as pool:
        jobs = list(pool.map(lambda _: client.submit(URIS), range(12)))
    assert len({job.id for job in jobs}) == 12
    assert ledger.connection.redis.llen(QUEUE) >= 12 * 7  # two clients that see the same gap both fill it
    work(ledger)
    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda job: len(list(client.results(job.id))), jobs))
    assert counts == [100] * 12


def test_a_client_continues_after_its_connections_were_cut(client: Client, ledger: Ledger) -> None:
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


def test_the_error_for_a_redis_that_is_down_is_one_line() -> None:
    with Client("redis://127.0.0.1:1/0", "redis") as down:
        for ask in (down.jobs, down.recoverable, lambda: down.score("s3://b/k.jpg"), lambda: down.submit(URIS)):
            with pytest.raises(RedisUnavailableError, match=r"^cannot reach Redis [^\n]+$"):
                ask()


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
@pytest.mark.parametrize("ask", ["job", "status", "wait", "results", "watch"])
def test_an_unknown_job_is_reported_at_once(client: Client, ask: str) -> None:
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


def test_wait_raises_after_its_timeout_and_the_job_continues(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    beat(ledger)
    with pytest.raises(TimeoutError, match=rf"^job {job.id} is running after 0\.1 s; it continues$"):
        client.wait(job.id, timeout_s=0.1)
    assert client.status(job.id).state is JobState.RUNNING
    client.pause(job.id)
    with pytest.raises(TimeoutError, match=r"is paused after 0\.1 s; it continues once it is resumed$"):
        client.wait(job.id, timeout_s=0.1)


# Pause, resume
def test_a_job_is_paused_and_continues(client: Client, ledger: Ledger) -> None:
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


def test_an_unknown_job_cannot_be_controlled(client: Client) -> None:
    for control in (client.pause, client.resume, client.cancel, client.delete, client.retry):
        with pytest.raises(UnknownJobError):
            control(new_job_id())


# Results
def test_results_come_in_the_order_of_the_source(client: Client, ledger: Ledger) -> None:
    items = [Item(uri=uri, id=f"id of {uri}") for uri in URIS]
    job = client.submit(items)
    work(ledger)
    assert list(client.results(job.id)) == [no_face(item) for item in items]


def test_results_can_be_read_chunk_by_chunk_while_the_job_runs(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    assert list(client.results(job.id)) == []
    work(ledger, chunks=2)
    assert [result.uri for result in client.results(job.id)] == URIS[:32]
    assert [len(shard) for shard in client.result_shards(job.id)] == [16, 16]


def test_following_results_yields_each_once_until_the_job_ends(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger, chunks=1)
    uris: list[str] = []
    counts: list[int] = []
    for shard in client.result_shards(job.id, follow=True, on_status=lambda status: counts.append(status.images_done)):
        uris += [ImageResult.decode(line).uri for line in shard]
        work(ledger, chunks=1)
    assert uris == URIS
    assert counts == sorted(counts)
    assert counts[-1] == 100


def test_a_failed_image_has_a_result_with_its_uri_and_code(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS[:1])
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    (result,) = client.results(job.id)
    assert result == failed(Item(uri=URIS[0]), ErrorCode.NOT_FOUND)
    assert client.status(job.id).failed_by_code == {"not_found": 1}


def test_the_error_for_a_lost_shard_is_one_line(client: Client, ledger: Ledger) -> None:
    job = client.submit(URIS)
    work(ledger)
    ledger.connection.redis.hdel(job_key(job.id, "results"), 3)
    with pytest.raises(StorageError, match=rf"^results 3 of job {job.id} is not in Redis: [^\n]+$"):
        list(client.results(job.id))


# One image, now
def test_one_image_is_scored_before_all_others_and_its_job_is_deleted(client: Client, ledger: Ledger) -> None:
    client.submit(URIS)

    def work_on_it() -> None:
        # Wait until it is open. Else the claim is a chunk of the other job.
        wait_until(lambda: any(job.name == "score" and job.state is JobState.RUNNING for job in ledger.jobs()))
        work(ledger, 1)

    worker = threading.Thread(target=work_on_it)
    worker.start()
    result = client.score("s3://images/now.jpg", timeout_s=60)
    worker.join()
    assert result == no_face(Item(uri="s3://images/now.jpg"))
    assert [job.images for job in client.jobs()] == [100]


def test_an_image_that_is_not_scored_in_time_is_a_timeout(client: Client, ledger: Ledger) -> None:
    unscored = "^no result after 0.2 s, and the image is not scored later: "
    with pytest.raises(TimeoutError, match=unscored + "no worker runs: start `fiqa worker`$"):
        client.score("s3://images/now.jpg", timeout_s=0.2)
    assert client.jobs() == []
    beat(ledger)  # a worker that is busy, or that died less than 15 s ago
    with pytest.raises(TimeoutError, match=unscored + "no worker has started it$"):
        client.score("s3://images/now.jpg", timeout_s=0.2)
    assert client.jobs() == []
    with pytest.raises(SourceError, match="is not a URI"):
        client.score("now.jpg")


def test_a_job_of_score_whose_client_was_killed_is_forgotten(redis_url: str, ledger: Ledger) -> None:
    code = "import sys, fiqa; fiqa.Client(sys.argv[1]).score('s3://images/1.jpg', timeout_s=60)"
    killed = subprocess.Popen([sys.executable, "-c", code, redis_url])
    redis = ledger.connection.redis
    wait_until(lambda: any(redis.ttl(job_key(status.id)) >= 0 for status in ledger.jobs()))
    killed.kill()
    killed.wait()
    (status,) = ledger.jobs()
    claim = ledger.claim()
    assert claim
    for part in ("", ":manifest"):
        assert 0 < redis.ttl(job_key(status.id) + part) <= 70
        redis.expire(job_key(status.id) + part, 0)
    redis.zadd(EXPIRING, {status.id: 0})
    assert ledger.claim() is None
    assert not ledger.renew(claim)
    ledger.forget_expired()
    assert redis.keys(f"{KEYS.job_prefix}*") == []


# A Redis that is restarted while somebody follows a job
@pytest.mark.parametrize("how", ["wait", "results", "command"])
def test_a_restart_of_redis_ends_nobody_who_follows_a_job(tmp_path: Path, how: str) -> None:
    port, kept = free_ports(1), {"appendonly": "yes", "appendfsync": "always"}
    url, storage = f"redis://127.0.0.1:{port}/0", str(tmp_path / "storage")
    (tmp_path / "redis").mkdir()

    lines = tmp_path / "lines"

    def follow(job_id: str) -> object:
        if how == "command":
            command = [sys.executable, "-m", "fiqa", "watch", job_id, "--json"]
            with lines.open("wb") as file:
                done = subprocess.run(command, env={**os.environ, "FIQA_REDIS_URL": url}, stdout=file, check=False)
            return done.returncode == 0
        with Client(url, storage) as client:
            if how == "wait":
                return client.wait(job_id).state is JobState.SUCCEEDED
            return len(list(client.results(job_id, follow=True))) == len(URIS)

    with start_redis(tmp_path / "redis", kept, port), Client(url, storage) as client:
        job = client.submit(URIS, chunk_size=4)
    with ThreadPoolExecutor(1) as pool:
        with start_redis(tmp_path / "redis", kept, port), closing(Ledger(url)) as ledger:
            following = pool.submit(follow, job.id)
            wait_until(lambda: "cmdstat_hgetall" in ledger.connection.redis.info("commandstats"))
            time.sleep(2)
        if how == "command":  # its retries bridge a shorter outage
            wait_until(lambda: "cannot reach Redis" in lines.read_text())
        else:
            time.sleep(2)
        with start_redis(tmp_path / "redis", kept, port), closing(Ledger(url)) as ledger:
            time.sleep(1)
            assert not following.done()
            work(ledger)
            assert following.result(WAIT_S)
