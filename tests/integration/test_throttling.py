"""S3 that throttles its clients for longer than an image may take: the status shows it, and no image fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa import Client
from tests.conftest import Bucket
from tests.faults.proxy import S3Fault
from tests.integration.conftest import StartWorker, assert_exactly_once
from tests.producer.s3_settings import proxied
from tests.servers import S3Server
from tests.waiting import wait_until


@pytest.mark.usefixtures("s3_env")
def test_throttling_is_in_the_status_and_fails_no_image(
    bucket: Bucket, s3: S3Server, client: Client, start_worker: StartWorker, photos: Path
) -> None:
    photo = (photos / "original-0.jpg").read_bytes()
    uris = [bucket.put(f"{number}.jpg", photo) for number in range(20)]
    with proxied(s3) as (proxy, url):
        proxy.break_requests(S3Fault.SLOW_DOWN, 1.0)
        start_worker(AWS_ENDPOINT_URL=url, FIQA_IMAGE_TIME_LIMIT_S="12")
        job = client.submit(uris)
        wait_until(lambda: client.status(job.id).last_error)
        assert "S3 throttles requests: 503 SlowDown" in str(client.status(job.id).last_error)
        proxy.heal()
        results = assert_exactly_once(client, job.id, uris)
        assert {result.status for result in results} == {"scored"}
        assert client.status(job.id).last_error is None
