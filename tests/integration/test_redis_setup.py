"""How many connections a worker takes, and how it reports a Redis with a wrong setup."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fiqa import Client, JobState
from fiqa.ledger.connection import Connection
from tests.integration.conftest import StartWorker
from tests.ledger_of import ledger_of
from tests.servers import start_redis
from tests.waiting import WAIT_S, wait_until

MAIN = 3
PROCESSES = 2


@pytest.mark.parametrize("storage", ["redis", "storage"])
def test_a_pool_process_holds_one_connection_and_the_main_process_three(
    redis_url: str, photos: Path, tmp_path: Path, start_worker: StartWorker, storage: str
) -> None:
    worker = start_worker(
        FIQA_REDIS_URL=f"{redis_url}?client_name=of-the-worker",
        FIQA_ALLOWED_SOURCES=photos.as_uri(),
        FIQA_HEALTH_DIR=str(tmp_path / "health"),
        concurrency=PROCESSES,
    )
    uris = [(photos / "original-0.jpg").as_uri()] * 100
    most = 0
    with Client(redis_url, storage if storage == "redis" else str(tmp_path / storage)) as client:
        server = ledger_of(client).connection.redis
        job = client.submit(uris, chunk_size=4)
        for _ in client.watch(job.id):
            most = max(most, sum(found["name"] == "of-the-worker" for found in server.client_list()))
        assert client.status(job.id).state is JobState.SUCCEEDED
    assert MAIN + 1 <= most <= MAIN + PROCESSES
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lru"])
def test_a_redis_that_evicts_is_an_error_in_the_log_at_a_workers_start(
    tmp_path: Path, start_worker: StartWorker, policy: str
) -> None:
    (tmp_path / "redis").mkdir()
    with start_redis(tmp_path / "redis", {"maxmemory-policy": policy, "maxmemory": "100mb"}) as server:
        health = tmp_path / "health"
        worker = start_worker(FIQA_REDIS_URL=server.url, FIQA_HEALTH_DIR=str(health))
        wait_until((health / "ready").exists, lambda: worker.log)
        (line,) = [line for line in worker.log.splitlines() if "evicts keys" in line]
        assert " ERROR " in line
        assert f"maxmemory-policy {policy}" in line
        worker.process.terminate()
        assert worker.process.wait(WAIT_S) == 0


def test_a_redis_that_refuses_a_new_job_when_full_is_fine(redis_url: str) -> None:
    assert Connection(redis_url).check_server() == []


def test_a_user_that_may_not_read_the_policy_of_redis_is_reported(redis_url: str) -> None:
    admin = Connection(redis_url).redis
    admin.execute_command("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+@all", "-info")
    port = urlsplit(redis_url).port
    try:
        (line,) = Connection(f"redis://blind:x@127.0.0.1:{port}/0").check_server()
    finally:
        admin.execute_command("ACL", "DELUSER", "blind")
    assert line.startswith("cannot check whether Redis at redis://127.0.0.1:")
