"""Workers whose S3 does not work yet: no image fails, and the job is done once it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa import Client
from tests.conftest import Bucket
from tests.integration.conftest import StartWorker, assert_exactly_once
from tests.producer.container_credentials import container_credentials
from tests.producer.s3_settings import clear, set_all
from tests.servers import S3Server
from tests.waiting import wait_until


def test_container_credentials_that_come_late_cost_time_and_no_image(
    *,
    bucket: Bucket,
    s3: S3Server,
    client: Client,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    photos: Path,
) -> None:
    photo = (photos / "original-0.jpg").read_bytes()
    uris = [bucket.put(f"{number}.jpg", photo) for number in range(20)]
    clear(monkeypatch)
    with container_credentials() as late:
        set_all(monkeypatch, {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_CONTAINER_CREDENTIALS_FULL_URI": late.url})
        worker = start_worker()
        job = client.submit(uris)
        wait_until(lambda: client.status(job.id).last_error)
        assert f"cannot read s3://{bucket.name}: S3: " in str(client.status(job.id).last_error)
        assert client.status(job.id).images_done == 0
        late.key = (s3.access_key, s3.secret_key)
        results = assert_exactly_once(client, job.id, uris)
        assert {result.status for result in results} == {"scored"}
        assert client.status(job.id).last_error is None
        assert "Traceback" not in worker.log
