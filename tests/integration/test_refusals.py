"""A Redis that is up and refuses: a real worker waits, reports it, and continues, whether it is busy or idle."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from fiqa import Client, JobState, RedisUnavailableError
from fiqa.ledger.ledger import Ledger
from tests.ledger_of import ledger_of
from tests.redis_refusals import REFUSALS, replica
from tests.redis_relay import RedisRelay, relayed
from tests.servers import RedisServer, start_redis
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import Worker, launch_worker

# Longer than a worker lived after such an answer: 3 s.
REFUSES_S: Final = 4.0
IMAGES: Final = 24  # of a job: a fifth of a second
ANSWERS: Final = (
    "LOADING Redis is loading the dataset in memory",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "NOTYETKNOWN whatever a newer Redis says",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with start_redis(tmp_path_factory.mktemp("refusing"), {"enable-debug-command": "local"}) as server:
        yield server


@pytest.fixture(scope="module")
def relay(server: RedisServer) -> Iterator[RedisRelay]:
    with relayed(urlsplit(server.url).port or 0) as relay:
        yield relay


@pytest.fixture(scope="module")
def worker(relay: RedisRelay, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all refusals. It goes through the relay."""
    log = tmp_path_factory.mktemp("worker") / "log"
    worker = launch_worker(relay.url, log, FIQA_ALLOWED_SOURCES=photos.as_uri())
    yield worker
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(WAIT_S) == 0


@pytest.fixture(scope="module")
def client(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One client for all refusals."""
    with Client(server.url, str(tmp_path_factory.mktemp("storage"))) as client:
        yield client


Refuse = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def refusals(server: RedisServer, relay: RedisRelay) -> dict[str, Refuse]:
    """The refusals of a real Redis, and those that the relay answers instead of Redis."""

    @contextmanager
    def answering(answer: str) -> Iterator[None]:
        relay.answer = answer
        try:
            yield
        finally:
            relay.answer = None

    real = {name: partial(refusal, server.url) for name, refusal in REFUSALS.items()}
    return real | {answer: partial(answering, answer) for answer in ANSWERS}


@pytest.mark.timeout(600)
def test_a_busy_worker_waits_whatever_redis_answers(
    refusals: dict[str, Refuse], client: Client, worker: Worker, photos: Path
) -> None:
    """One refusal after the other, each while a job runs."""
    jobs = []
    for name, refuse in refusals.items():
        jobs.append(client.submit([(photos / "original-0.jpg").as_uri()] * IMAGES, chunk_size=4))
        wait_until(lambda: jobs[-1].status().chunks_done, lambda: f"before {name}: {worker.log}")  # noqa: B023
        seen = len(worker.log)
        with refuse():
            time.sleep(REFUSES_S)
        assert worker.process.poll() is None, f"{name}: {worker.log[seen:]}"
        # One line of each process, and one if the answer changes.
        assert worker.log[seen:].count("Redis is unavailable, retrying") <= 4, f"{name}: {worker.log[seen:]}"
    for job in jobs:
        status = job.wait(WAIT_S)  # a released chunk waits for 10 s
        assert (status.state, status.scored) == (JobState.SUCCEEDED, IMAGES)
    assert "Traceback" not in worker.log


@pytest.mark.timeout(600)
def test_an_idle_worker_waits_whatever_redis_answers(
    refusals: dict[str, Refuse], client: Client, worker: Worker, photos: Path
) -> None:
    client.wait(client.submit([(photos / "original-0.jpg").as_uri()]).id, WAIT_S)
    for name, refuse in refusals.items():
        seen = len(worker.log)
        with refuse():
            time.sleep(REFUSES_S)
        assert worker.process.poll() is None, f"{name}: {worker.log[seen:]}"
        assert worker.log[seen:].count("Redis is unavailable, retrying") <= 3, f"{name}: {worker.log[seen:]}"
    assert client.wait(client.submit([(photos / "original-0.jpg").as_uri()]).id, WAIT_S).state is JobState.SUCCEEDED
    assert "Traceback" not in worker.log


def test_a_worker_that_waits_ends_normally(relay: RedisRelay, worker: Worker, client: Client, photos: Path) -> None:
    """This test is the last one of the file, since it ends the worker that the others share."""
    client.wait(client.submit([(photos / "original-0.jpg").as_uri()]).id, WAIT_S)
    relay.answer = ANSWERS[0]
    before = relay.refused
    wait_until(lambda: relay.refused > before)
    worker.process.send_signal(signal.SIGTERM)
    try:
        assert worker.process.wait(WAIT_S) == 0
    finally:
        relay.answer = None
    assert "Traceback" not in worker.log


def test_a_long_lived_client_continues_with_the_new_master(tmp_path: Path) -> None:
    """After a failover the name leads to the new master; connections that are open lead to the old one."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with (
        start_redis(tmp_path / "old") as old,
        start_redis(tmp_path / "new") as new,
        relayed(urlsplit(old.url).port or 0) as relay,
        Client(relay.url, str(tmp_path / "storage")) as client,
    ):
        client.submit(["s3://bucket/a.jpg"])
        with replica(old.url), pytest.raises(RedisUnavailableError, match="is a read-only replica"):
            client.submit(["s3://bucket/a.jpg"])
        relay.upstream = urlsplit(new.url).port or 0
        job = client.submit(["s3://bucket/a.jpg"])
        assert ledger_of(client).waiting_tickets() == 1
        with closing(Ledger(new.url)) as ledger:
            assert ledger.status(job.id).state is JobState.RUNNING


@pytest.mark.parametrize("answer", ANSWERS[:2])
def test_a_worker_that_starts_while_redis_refuses_waits(answer: str, relay: RedisRelay, tmp_path: Path) -> None:
    relay.answer = answer
    started = launch_worker(relay.url, tmp_path / "log")

    def has_ended() -> bool:
        return started.process.poll() is not None

    try:
        wait_until(lambda: "waiting for Redis: " in started.log or has_ended(), lambda: started.log)
        relay.answer = None
        wait_until(lambda: "Connected to redis" in started.log or has_ended(), lambda: started.log)
        assert not has_ended()
        assert started.log.count("waiting for Redis: ") == 1
    finally:
        relay.answer = None
        started.process.terminate()
        started.process.wait(WAIT_S)
