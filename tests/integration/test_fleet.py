"""Fleets of workers that differ, or cannot read a source: real processes, each with another host name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from fiqa import Client, Job, JobState, Status
from tests.integration.conftest import StartWorker, wait_for_lease
from tests.integration.machines import launch_on, make_share, stop_all, wait_for_workers
from tests.keys import LEASES
from tests.ledger_of import ledger_of
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import STOP_S, Worker

IMAGES: Final = 100
CHUNK: Final = 10
StartOn = Callable[..., Worker]


@pytest.fixture
def start_on(redis_url: str, tmp_path: Path) -> Iterator[StartOn]:
    """Starts a worker on a machine of this name."""
    workers: list[Worker] = []

    def start(host: str, **environment: Any) -> Worker:
        workers.append(launch_on(host, redis_url, tmp_path, **environment))
        return workers[-1]

    yield start
    stop_all(workers)


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """A share with one small photo."""
    return make_share(tmp_path / "share", photos)


def test_what_no_machine_can_read_ends_as_failed(client: Client, folder: Path, start_on: StartOn) -> None:
    for host in ("one", "two", "three", "four"):
        start_on(host, FIQA_ALLOWED_SOURCES=folder.as_uri())
    wait_for_workers(client, "one", "two", "three", "four")
    missing = [(folder / f"missing-{number}.jpg").as_uri() for number in range(60)]
    job = client.submit(missing, chunk_size=CHUNK)
    status = job.wait(WAIT_S)
    assert (status.state, status.failed_by_code) == (JobState.SUCCEEDED, {"not_found": 60})


def test_what_the_only_machine_cannot_read_ends_as_failed(client: Client, folder: Path, start_on: StartOn) -> None:
    worker = start_on("alone", FIQA_ALLOWED_SOURCES=folder.as_uri())
    uris = [(folder / f"missing-{number}.jpg").as_uri() for number in range(200)]
    uris += ["file:///elsewhere/a.jpg", (folder / "a.jpg").as_uri()]
    job = client.submit(uris, chunk_size=40)
    status = job.wait(WAIT_S)
    assert status.failed_by_code == {"not_found": 200, "source_not_allowed": 1}, worker.log
    assert [result.status for result in job.results()][-2:] == [Status.FAILED, Status.SCORED]


def test_a_share_that_is_mounted_later_is_read_then(
    client: Client, tmp_path: Path, photos: Path, start_on: StartOn
) -> None:
    share = tmp_path / "later"
    worker = start_on("alone", FIQA_ALLOWED_SOURCES=share.as_uri())
    job = client.submit([(share / "a.jpg").as_uri()] * 20, chunk_size=CHUNK)
    wait_until(lambda: "does not exist on this machine" in str(client.status(job.id).last_error), lambda: worker.log)
    assert client.status(job.id).images_done == 0
    problems = {share.as_uri(): "does not exist on this machine: is the share mounted?"}
    wait_until(lambda: [worker.problems for worker in client.workers()] == [problems])
    share.mkdir()
    (share / "a.jpg").write_bytes((photos / "original-0.jpg").read_bytes())
    status = job.wait(WAIT_S)
    assert (status.state, status.scored) == (JobState.SUCCEEDED, 20)
    wait_until(lambda: not client.workers()[0].problems)


def begun(client: Client, uris: list[str]) -> Job:
    """Submit a job, and pause it when some of its chunks are done and some are not."""
    while True:
        job = client.submit(uris, chunk_size=CHUNK)
        wait_for_lease(client)
        job.pause()
        wait_until(lambda: not ledger_of(client).connection.redis.zcard(LEASES))
        if job.status().chunks_done and not job.status().is_finished:
            return job


def test_a_worker_with_other_settings_leaves_the_job_to_those_that_fit(
    client: Client, folder: Path, start_on: StartOn
) -> None:
    uris = [(folder / "a.jpg").as_uri()] * IMAGES
    first = start_on("first", FIQA_ALLOWED_SOURCES=folder.as_uri())
    wait_for_workers(client, "first")
    job = begun(client, uris)
    other = start_on("other", FIQA_ALLOWED_SOURCES=folder.as_uri(), FIQA_DETECT_SIZE="320")
    wait_for_workers(client, "first", "other")
    one, two = client.workers()
    assert one.fingerprint == client.status(job.id).fingerprint != two.fingerprint
    first.process.terminate()
    assert first.process.wait(STOP_S) == 0
    job.resume()
    wait_until(lambda: f"job {job.id}: left to other workers" in other.log, lambda: other.log)
    wait_until(lambda: client.status(job.id).workers_unfit == 1)
    (listed,) = client.workers()
    assert f"job {job.id}" in listed.problems
    done = client.status(job.id).images_done
    rest = client.submit(uris[:20], any_worker=True)
    assert rest.wait(WAIT_S).scored == 20  # another job is not held up
    assert client.status(job.id).images_done == done
    start_on("second", FIQA_ALLOWED_SOURCES=folder.as_uri())
    assert job.wait(WAIT_S).scored == IMAGES
    assert other.log.count(f"job {job.id}: left to other workers") == 1


def test_a_job_for_any_worker_is_shared_by_workers_with_different_settings(
    client: Client, folder: Path, start_on: StartOn
) -> None:
    workers = [
        start_on(f"m{size}", FIQA_ALLOWED_SOURCES=folder.as_uri(), FIQA_DETECT_SIZE=size) for size in ("320", "640")
    ]
    wait_for_workers(client, "m320", "m640")
    while not all(" chunk " in worker.log for worker in workers):
        job = client.submit([(folder / "a.jpg").as_uri()] * IMAGES, chunk_size=CHUNK, any_worker=True)
        assert job.wait(WAIT_S).scored == IMAGES
        assert client.status(job.id).fingerprint == "*"


def test_a_worker_leaves_a_job_in_a_storage_that_it_may_not_open_to_others(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIQA_STORAGE", raising=False)
    source = {"FIQA_ALLOWED_SOURCES": photos.as_uri()}
    strict = start_worker(**source, FIQA_ALLOWED_STORAGES="redis")
    job = client.submit([(photos / "original-0.jpg").as_uri()])
    advice = "set FIQA_STORAGE to it or add it to FIQA_ALLOWED_STORAGES"
    wait_until(lambda: advice in str(job.status().last_error), lambda: strict.log)
    wait_until(lambda: any(advice in str(worker.problems) for worker in client.workers()))
    assert advice in strict.log
    start_worker(**source, FIQA_ALLOWED_STORAGES=str(tmp_path / "storage"))
    assert job.wait(WAIT_S).scored == 1
