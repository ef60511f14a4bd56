"""docker-compose.yml in a real daemon: the demo, and jobs while containers come, go and die."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import cv2
import numpy as np
import pytest

from fiqa import Client, Status
from fiqa_worker.demo.photos import make_photos
from tests.containers.engine import BUCKET, STORAGE, Docker, Stack, start_stack
from tests.integration.conftest import assert_exactly_once
from tests.monitoring.prometheus import Prometheus
from tests.waiting import WAIT_S, wait_until

# About 10 s of work for two cores.
IMAGES = 1_000


@pytest.fixture(scope="module")
def stack(docker: Docker) -> Iterator[Stack]:
    with start_stack(docker) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name, value in stack.s3.env.items():
        monkeypatch.setenv(name, value)
    with Client(stack.redis_url, STORAGE) as client:
        yield client


@pytest.fixture(scope="module")
def uris(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A job's worth of images: the demo's photos that can be scored, again and again."""
    s3 = stack.s3.client()
    names = []
    for path in make_photos(tmp_path_factory.mktemp("photos")):
        if not path.name.startswith(("empty", "cut", "text", "large", "group", "noface")):
            s3.upload_file(str(path), BUCKET, f"photos/{path.name}")
            names.append(path.name)
    return [f"s3://{BUCKET}/photos/{name}" for name in islice(cycle(names), IMAGES)]


def works_on(docker: Docker, container: str, job_id: str) -> bool:
    return f"job {job_id} chunk" in docker.log(container)


def exit_code(docker: Docker, container: str) -> int:
    state = docker.inspect(container)["State"]
    assert not state["Running"]
    return int(state["ExitCode"])


def test_the_demo_prints_results_and_they_are_in_the_bucket(stack: Stack) -> None:
    printed = stack.compose("run", "--rm", "demo")
    rows = [line for line in printed.splitlines() if ".jpg" in line]
    assert len(rows) == 33
    assert any(row.split()[:4] == ["original-0.jpg", "512x512", "1", "0.756"] for row in rows)
    keys = [item["Key"] for item in stack.s3.client().list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert any("/results/" in key for key in keys if key.startswith("jobs/"))


def test_a_worker_starts_without_a_warning_and_has_no_rights(stack: Stack) -> None:
    (worker,) = stack.scale(1)
    wait_until(lambda: "ready." in stack.docker.log(worker))
    assert "warning" not in stack.docker.log(worker).lower()
    container = stack.docker.inspect(worker)
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert container["Config"]["User"] == "4242:4242"


def test_prometheus_finds_each_worker_and_gets_what_it_counts(stack: Stack, client: Client, uris: list[str]) -> None:
    stack.scale(2)
    stack.compose("up", "-d", "--no-deps", "prometheus")
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{stack.prometheus_port}")
        wait_until(lambda: prometheus.query('count(fiqa_processes{job="fiqa"}) == 2'))
        assert len(prometheus.get("rules")["groups"]) == 1
        client.wait(client.submit(uris[:100]).id, WAIT_S)
        wait_until(lambda: prometheus.query('sum(fiqa_images_total{status="scored"}) >= 100'))
    finally:
        stack.compose("rm", "-sf", "prometheus")


def test_workers_join_a_running_job_and_one_is_killed(stack: Stack, client: Client, uris: list[str]) -> None:
    stack.scale(1)
    job = client.submit(uris)
    workers = stack.scale(3)
    assert len(workers) == 3
    wait_until(lambda: all(works_on(stack.docker, worker, job.id) for worker in workers))
    stack.docker.run("kill", workers[1])
    assert {result.status for result in assert_exactly_once(client, job.id, uris)} == {Status.SCORED}
    assert exit_code(stack.docker, workers[1]) == 137


def test_sigterm_drains_a_worker_within_its_grace_period(stack: Stack, client: Client, uris: list[str]) -> None:
    workers = stack.scale(2)
    job = client.submit(uris)
    wait_until(lambda: all(works_on(stack.docker, worker, job.id) for worker in workers))
    stack.docker.run("stop", workers[0])  # SIGKILL after the grace period of the service
    assert exit_code(stack.docker, workers[0]) == 0
    assert "SIGTERM received" in stack.docker.log(workers[0])
    assert_exactly_once(client, job.id, uris)


def test_redis_restarts_in_the_middle_of_a_job(stack: Stack, client: Client, uris: list[str]) -> None:
    (worker,) = stack.scale(1)
    job = client.submit(uris)
    wait_until(lambda: works_on(stack.docker, worker, job.id))
    stack.compose("restart", "redis")
    assert {result.status for result in assert_exactly_once(client, job.id, uris)} == {Status.SCORED}
    assert stack.docker.inspect(worker)["RestartCount"] == 0


def test_a_worker_that_its_memory_limit_kills_loses_no_image(stack: Stack, client: Client, uris: list[str]) -> None:
    # 300 MB of pixels. A PNG is always decoded as a whole.
    png = cv2.imencode(".png", np.zeros((10_000, 9_999, 3), np.uint8))[1].tobytes()
    stack.s3.client().put_object(Bucket=BUCKET, Key="photos/huge.png", Body=png)
    job_uris = [f"s3://{BUCKET}/photos/huge.png", *uris[:30]]
    (model,) = stack.scale(1)
    with stack.another_worker("--memory=384m", "--memory-swap=384m") as small:
        stack.docker.run("stop", model)
        job = client.submit(job_uris)
        wait_until(lambda: "signal 9 (SIGKILL)" in stack.docker.log(small), lambda: stack.docker.log(small))
        stack.docker.run("stop", small)
    stack.scale(1)
    results = assert_exactly_once(client, job.id, job_uris)
    assert [result.status for result in results] == [Status.NO_FACE, *[Status.SCORED] * 30]


def test_half_a_cpu_gets_one_process(stack: Stack, client: Client, uris: list[str]) -> None:
    (model,) = stack.scale(1)
    with stack.another_worker("--cpus=0.5") as slow:
        stack.docker.run("stop", model)
        host = str(stack.docker.inspect(slow)["Config"]["Hostname"])
        wait_until(lambda: host in {worker.host for worker in client.workers()}, lambda: stack.docker.log(slow))
        assert [worker.processes for worker in client.workers() if worker.host == host] == [1]
        job = client.submit(uris[:100])
        assert_exactly_once(client, job.id, uris[:100])


def test_health_follows_a_worker_that_is_suspended(stack: Stack) -> None:
    (worker,) = stack.scale(1)

    def health() -> str:
        return str(stack.docker.inspect(worker)["State"]["Health"]["Status"])

    def signal(name: str) -> None:  # process 1 is Docker's init, which passes signals on, but not these
        stack.docker.run("exec", worker, "sh", "-c", f"kill -{name} $(cat /proc/1/task/1/children)")

    wait_until(lambda: health() == "healthy")
    signal("STOP")
    wait_until(lambda: health() == "unhealthy")
    signal("CONT")
    wait_until(lambda: health() == "healthy")


def test_the_client_image_submits_a_job(stack: Stack, uris: list[str]) -> None:
    (worker,) = stack.scale(1)
    network = f"--network={stack.project}_default"
    done = stack.docker.run(
        *("run", "--rm", "--read-only", network, *stack.env_of(worker), "fiqa-client"), "submit", *uris[:3], "--wait"
    )
    assert done.stdout.strip()
