"""A fleet in which one machine is wrong: real worker processes, each with another host name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from fiqa import Client, JobState, Status
from tests.conftest import Bucket
from tests.fiqa_process import BUILTIN
from tests.integration.conftest import ROOT, STOP_S, Worker
from tests.refusing_s3 import refusing_s3
from tests.waiting import WAIT_S, wait_until

IMAGES: Final = 400
CHUNK: Final = 10
StartOn = Callable[..., Worker]


@pytest.fixture
def start_on(redis_url: str, tmp_path: Path) -> Iterator[StartOn]:
    """Starts a worker on a machine of this name; `hides` is a folder that is another one on that machine."""
    workers: list[Worker] = []

    def start(host: str, *, hides: Path | None = None, holding: str = "", **environment: str) -> Worker:
        command = [sys.executable, "-m", "tests.integration.planted", "worker", "--concurrency", "1"]
        if hides:
            mount = f'mount -t tmpfs tmpfs "{hides}"' + (f' && touch "{hides}/{holding}"' if holding else "")
            command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]
        log = tmp_path / f"{host}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                env={**os.environ, **BUILTIN, "FIQA_REDIS_URL": redis_url, "FIQA_TEST_HOST": host, **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        workers.append(Worker(process, log))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        assert worker.process.wait(STOP_S) == 0, worker.log


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which takes root")


def wait_for_workers(client: Client, *hosts: str) -> None:
    wait_until(lambda: {worker.host for worker in client.workers()} == set(hosts))


def check_all_scored(client: Client, uris: list[str], bad: Worker, problem: str, *, after_first: bool = True) -> None:
    """Submit the images; all of them are scored, and the bad worker is named."""
    job = client.submit(uris, chunk_size=CHUNK)
    named = ""
    if after_first:
        wait_until(lambda: problem in bad.log, lambda: bad.log)
        wait_until(lambda: client.status(job.id).is_finished or any(worker.problems for worker in client.workers()))
        named = str([(worker.host, worker.problems) for worker in client.workers()])
    status = job.wait(WAIT_S)
    assert (status.state, status.scored, status.failed_by_code) == (JobState.SUCCEEDED, len(uris), {}), bad.log
    assert problem in bad.log
    if named:
        assert problem in named
    assert "Traceback" not in bad.log


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """A share with one small photo."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "a.jpg").write_bytes((photos / "original-0.jpg").read_bytes())
    return share


@needs_root
@pytest.mark.parametrize(
    ("holding", "problem"),
    [("", "is empty on this machine: is the share mounted?"), ("other.txt", "no such file")],
    ids=["the share is not mounted", "the share is another one"],
)
def test_a_machine_without_the_share_ends_no_image(
    client: Client, folder: Path, start_on: StartOn, holding: str, problem: str
) -> None:
    allowed = folder.as_uri()
    bad = start_on("bad", hides=folder, holding=holding, FIQA_ALLOWED_SOURCES=allowed)
    start_on("good", FIQA_ALLOWED_SOURCES=allowed)
    wait_for_workers(client, "bad", "good")
    check_all_scored(client, [(folder / "a.jpg").as_uri()] * IMAGES, bad, problem)


def test_a_machine_with_other_allowed_sources_ends_no_image(client: Client, folder: Path, start_on: StartOn) -> None:
    bad = start_on("bad", FIQA_ALLOWED_SOURCES="s3://other/")
    start_on("good", FIQA_ALLOWED_SOURCES=folder.as_uri())
    wait_for_workers(client, "bad", "good")
    check_all_scored(client, [(folder / "a.jpg").as_uri()] * IMAGES, bad, "other workers may read it")


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    "answer",
    [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "AccessDenied"), (503, "ServiceUnavailable")],
    ids=lambda answer: answer[1],
)
def test_a_machine_that_s3_refuses_ends_no_image(
    client: Client, bucket: Bucket, photos: Path, start_on: StartOn, answer: tuple[int, str]
) -> None:
    uri = bucket.put("a.jpg", (photos / "original-0.jpg").read_bytes())
    with ExitStack() as stack:
        endpoint = stack.enter_context(refusing_s3(*answer))
        bad = start_on("bad", AWS_ENDPOINT_URL=endpoint)
        start_on("good")
        wait_for_workers(client, "bad", "good")
        check_all_scored(client, [uri] * IMAGES, bad, answer[1])


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


def test_a_worker_with_other_settings_leaves_the_job_to_those_that_fit(
    client: Client, folder: Path, start_on: StartOn
) -> None:
    uris = [(folder / "a.jpg").as_uri()] * IMAGES
    first = start_on("first", FIQA_ALLOWED_SOURCES=folder.as_uri())
    wait_for_workers(client, "first")
    job = client.submit(uris, chunk_size=CHUNK)
    wait_until(lambda: client.status(job.id).chunks_done > 0, lambda: first.log)
    other = start_on("other", FIQA_ALLOWED_SOURCES=folder.as_uri(), FIQA_DETECT_SIZE="320")
    wait_for_workers(client, "first", "other")
    one, two = client.workers()
    assert one.fingerprint == client.status(job.id).fingerprint != two.fingerprint
    first.process.terminate()
    assert first.process.wait(STOP_S) == 0
    if client.status(job.id).is_finished:
        pytest.skip("the first worker was too fast")
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
    job = client.submit([(folder / "a.jpg").as_uri()] * IMAGES, chunk_size=CHUNK, any_worker=True)
    assert job.wait(WAIT_S).scored == IMAGES
    assert all(f"job {job.id} chunk" in worker.log for worker in workers)
