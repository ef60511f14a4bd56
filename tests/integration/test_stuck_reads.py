"""Reads that never return: a file system that does not answer, and an S3 server that sends a byte a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiqa import Client, JobState
from tests.conftest import Bucket
from tests.dead_folder import dead, needs_fuse
from tests.faults.proxy import S3Fault
from tests.integration.conftest import StartWorker, assert_exactly_once, wait_for_lease
from tests.keys import LEASES
from tests.ledger_of import ledger_of
from tests.producer.s3_settings import proxied
from tests.servers import S3Server
from tests.waiting import WAIT_S
from tests.worker_process import STOP_S

NEVER = "3600"


@pytest.fixture
def stuck(photos: Path) -> Iterator[str]:
    """The URI of an image that nobody can read, next to the photos."""
    with dead(photos / "dead") as folder:
        yield (folder / "image.jpg").as_uri()


@needs_fuse
def test_reads_that_never_return_end_their_images_alone(
    stuck: str, photos: Path, client: Client, start_worker: StartWorker
) -> None:
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), FIQA_IMAGE_TIME_LIMIT_S="5")
    photo = (photos / "original-0.jpg").as_uri()
    # More images than threads that fetch.
    uris = [photo, *[stuck] * 10, photo, photo, *[stuck] * 10, photo]
    job = client.submit(uris)
    results = assert_exactly_once(client, job.id, uris)
    codes = Counter(result.error.code.value if result.error else "" for result in results)
    assert codes == {"": 4, "fetch_timeout": 20}
    assert results[1].error is not None
    assert results[1].error.message == "it could not be read within 5 s (FIQA_IMAGE_TIME_LIMIT_S)"
    assert client.submit([photo]).wait(WAIT_S).scored == 1
    assert "exits" not in worker.log  # the process lives on


@needs_fuse
def test_cancel_and_sigterm_do_not_wait_for_a_read(
    stuck: str, photos: Path, client: Client, start_worker: StartWorker
) -> None:
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), FIQA_IMAGE_TIME_LIMIT_S=NEVER, FIQA_DRAIN_S="600")
    job = client.submit([stuck])
    wait_for_lease(client)
    client.cancel(job.id)
    photo = (photos / "original-0.jpg").as_uri()
    assert client.submit([photo]).wait(WAIT_S).scored == 1
    job = client.submit([stuck])
    wait_for_lease(client)
    worker.process.terminate()
    assert worker.process.wait(STOP_S) == 0
    assert "drain timed out" not in worker.log
    assert ledger_of(client).connection.redis.zcard(LEASES) == 0
    assert client.status(job.id).state is JobState.RUNNING


@pytest.mark.usefixtures("s3_env")
def test_an_s3_server_that_drips_ends_its_images_alone(
    bucket: Bucket, s3: S3Server, client: Client, start_worker: StartWorker, photos: Path
) -> None:
    photo = (photos / "original-0.jpg").read_bytes()
    uris = [bucket.put(f"{number}.jpg", photo) for number in range(5)]
    # obstore refuses this name, so botocore reads it. Its timeout is for each part, not for the whole.
    uris.append(bucket.put("a//b.jpg", photo))
    with proxied(s3) as (proxy, url):
        start_worker(AWS_ENDPOINT_URL=url, FIQA_IMAGE_TIME_LIMIT_S="5")
        assert client.submit(uris).wait(WAIT_S).scored == len(uris)
        proxy.break_requests(S3Fault.DRIP, 1.0)
        job = client.submit(uris)
        assert job.wait(WAIT_S).failed_by_code == {"fetch_timeout": len(uris)}
        proxy.heal()
        assert client.submit(uris).wait(WAIT_S).scored == len(uris)
