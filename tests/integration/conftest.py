"""Real `fiqa worker` processes, which tests talk to only through Redis and S3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fiqa import Client, ImageResult, JobState, Status
from tests.keys import LEASES, job_key
from tests.ledger_of import ledger_of
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import Worker, launch_worker

StartWorker = Callable[..., Worker]


@pytest.fixture
def start_worker(redis_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers with the built-in models; those that still run at the end must end well when asked to."""
    workers: list[Worker] = []

    def start(**options: Any) -> Worker:
        workers.append(launch_worker(redis_url, tmp_path / f"worker-{len(workers)}.log", **options))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture
def client(redis_url: str, tmp_path: Path) -> Iterator[Client]:
    """A client of jobs whose storage is a folder."""
    with closing(Client(redis_url, str(tmp_path / "storage"))) as client:
        yield client


def assert_exactly_once(client: Client, job_id: str, uris: list[str]) -> list[ImageResult]:
    """Each image has one result, in order. The counters equal the shards. No lease and no record of a chunk is left."""
    status = client.wait(job_id, WAIT_S)
    results = list(client.results(job_id))
    assert [result.uri for result in results] == uris
    by_status = Counter(result.status for result in results)
    assert status.state is JobState.SUCCEEDED
    assert (status.images, status.images_done) == (len(uris), len(uris))
    assert (status.scored, status.no_face, status.failed) == (
        by_status[Status.SCORED],
        by_status[Status.NO_FACE],
        by_status[Status.FAILED],
    )
    assert status.faces == sum(len(result.faces) for result in results)
    assert status.failed_by_code == dict(Counter(result.error.code.value for result in results if result.error))
    server: Any = ledger_of(client).connection.redis  # redis-py types its keys as bytes or str
    assert server.zcard(LEASES) == 0
    parts = {key.decode().rpartition(":")[2] for key in server.keys(job_key(job_id, "*"))}
    assert parts <= {"done", "manifest", "results"}
    return results


def wait_for_lease(client: Client) -> None:
    wait_until(lambda: ledger_of(client).connection.redis.zcard(LEASES))
