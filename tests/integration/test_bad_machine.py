"""One machine is wrong and another is right: no image ends because of the wrong one, and it is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from fiqa import Client, JobState
from tests.conftest import Bucket
from tests.integration.machines import launch_on, make_share, stop_all, wait_for_workers
from tests.refusing_s3 import refusing_s3
from tests.servers import RedisServer, S3Server, start_redis
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import Worker

IMAGES: Final = 100
CHUNK: Final = 10
StartBad = Callable[..., Worker]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which takes root")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One that no test empties, since the good worker outlives them."""
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(server.url, str(tmp_path_factory.mktemp("storage"))) as client:
        yield client


@pytest.fixture(scope="module")
def share(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_share(tmp_path_factory.mktemp("machines") / "share", photos)


@pytest.fixture(scope="module")
def good(server: RedisServer, s3: S3Server, share: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that can read everything."""
    environment: dict[str, Any] = {**s3.env, "FIQA_ALLOWED_SOURCES": f"s3://,{share.as_uri()}"}
    worker = launch_on("good", server.url, tmp_path_factory.mktemp("good"), **environment)
    yield worker
    worker.stop()


@pytest.fixture
def start_bad(server: RedisServer, client: Client, good: Worker, s3: S3Server, tmp_path: Path) -> Iterator[StartBad]:
    """Starts a worker on another machine. Returns when it and the good one run."""
    workers: list[Worker] = []

    def start(**environment: Any) -> Worker:
        workers.append(launch_on("bad", server.url, tmp_path, **{**s3.env, **environment}))
        wait_for_workers(client, "bad", "good")
        assert good.process.poll() is None
        return workers[-1]

    yield start
    stop_all(workers)


def check_all_scored(client: Client, uri: str, bad: Worker, problem: str) -> None:
    """Submit jobs until the bad worker has met one. All images are scored, and the bad worker is named."""
    while True:
        job = client.submit([uri] * IMAGES, chunk_size=CHUNK)
        wait_until(lambda: problem in bad.log or client.status(job.id).is_finished, lambda: bad.log)  # noqa: B023
        status = job.wait(WAIT_S)
        assert (status.state, status.scored, status.failed_by_code) == (JobState.SUCCEEDED, IMAGES, {}), bad.log
        if problem in bad.log:
            break
    wait_until(lambda: any(problem in str(worker.problems) for worker in client.workers() if worker.host == "bad"))
    assert "Traceback" not in bad.log


@needs_root
@pytest.mark.parametrize(
    ("holding", "problem"),
    [("", "is empty on this machine: is the share mounted?"), ("other.txt", "no such file")],
    ids=["the share is not mounted", "the share is another one"],
)
def test_a_machine_without_the_share_ends_no_image(
    client: Client, share: Path, start_bad: StartBad, holding: str, problem: str
) -> None:
    bad = start_bad(hides=share, holding=holding, FIQA_ALLOWED_SOURCES=share.as_uri())
    check_all_scored(client, (share / "a.jpg").as_uri(), bad, problem)


def test_a_machine_with_other_allowed_sources_ends_no_image(client: Client, share: Path, start_bad: StartBad) -> None:
    bad = start_bad(FIQA_ALLOWED_SOURCES="s3://other/")
    check_all_scored(client, (share / "a.jpg").as_uri(), bad, "other workers may read it")


@pytest.mark.parametrize(
    "answer",
    [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "AccessDenied"), (503, "ServiceUnavailable")],
    ids=lambda answer: answer[1],
)
def test_a_machine_that_s3_refuses_ends_no_image(
    client: Client, bucket: Bucket, photos: Path, start_bad: StartBad, answer: tuple[int, str]
) -> None:
    uri = bucket.put("a.jpg", (photos / "original-0.jpg").read_bytes())
    with refusing_s3(*answer) as endpoint:
        bad = start_bad(AWS_ENDPOINT_URL=endpoint)
        check_all_scored(client, uri, bad, answer[1])
