"""The Deployment of deploy/kubernetes, in pods of podman."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fiqa import Client, Status
from tests.conftest import Bucket
from tests.containers.engine import Docker
from tests.containers.podman import CONTAINER, Podman, start_podman, why_not, write_overlay
from tests.integration.conftest import assert_exactly_once
from tests.keys import QUEUE
from tests.ledger_of import ledger_of
from tests.servers import S3Server
from tests.test_kubernetes import LENGTH, container
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def podman(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if reason := why_not():
        pytest.skip(reason)
    with start_podman(docker, tmp_path_factory.mktemp("podman"), "fiqa-worker") as podman:
        yield podman


@pytest.fixture
def manifests(s3: S3Server, tmp_path: Path) -> Path:
    settings = {
        "FIQA_STORAGE": "redis",
        "FIQA_ALLOWED_SOURCES": "s3://",
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_REGION": s3.env["AWS_REGION"],
    }
    return write_overlay(tmp_path, settings)


@pytest.fixture
def secret(podman: Podman, s3: S3Server, redis_url: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    podman.create_secret(keys | {"FIQA_REDIS_URL": redis_url})


def test_a_deployment_without_its_secret_gets_one_line_that_names_it(podman: Podman, manifests: Path) -> None:
    done = podman.play(manifests, check=False)
    podman.run("kube", "down", manifests)
    assert done.returncode
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "FIQA_REDIS_URL" in line
    assert '"fiqa"' in line


@pytest.mark.usefixtures("secret")
def test_no_worker_runs_tickets_are_lost_and_the_deployment_scores_the_job(
    podman: Podman, manifests: Path, photos: Path, bucket: Bucket, redis_url: str
) -> None:
    paths = [path for path in sorted(photos.iterdir()) if path.name.startswith(("blur", "dark", "noise"))]
    uris = [bucket.put(path.name, path.read_bytes()) for path in paths]
    with Client(redis_url, "redis") as client:
        job = client.submit(uris, chunk_size=4)
        redis = ledger_of(client).connection.redis
        redis.delete(QUEUE)
        job.status()
        assert redis.eval(LENGTH, 1, QUEUE) == job.chunks  # what KEDA sees, so it starts a worker
        with podman.pods(manifests):
            results = assert_exactly_once(client, job.id, uris)
            assert {result.status for result in results} == {Status.SCORED}
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                command = container("cpu")[name]["exec"]["command"]
                wait_until(lambda: not podman.run("exec", CONTAINER, *command, check=False).returncode)  # noqa: B023
            limit = podman.run("inspect", "--format", "{{.HostConfig.Memory}}", CONTAINER).stdout
            assert int(limit) == 3 << 30
            podman.run("stop", "-t", "30", CONTAINER)
            assert podman.run("inspect", "--format", "{{.State.ExitCode}}", CONTAINER).stdout.strip() == "0"
