"""Controls, retry, versions and readers of bulk jobs, with real workers."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from fiqa import Client, Item, JobState, Selection, Status
from tests.conftest import Bucket
from tests.integration.conftest import StartWorker, assert_exactly_once, wait_for_lease
from tests.keys import LEASES, job_key
from tests.ledger_of import ledger_of
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import Worker


def wait_for_log(worker: Worker, text: str) -> None:
    wait_until(lambda: text in worker.log, lambda: worker.log)


def test_a_paused_job_finishes_its_chunks_in_flight_and_continues_after_resume(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    uris = [(photos / "large-0.jpg").as_uri() for _ in range(80)]
    start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit(uris, chunk_size=8)
    wait_for_lease(client)
    client.pause(job.id)
    wait_until(lambda: not ledger_of(client).connection.redis.zcard(LEASES))
    paused = client.status(job.id)
    assert (paused.state, paused.images_done) == (JobState.PAUSED, 8 * paused.chunks_done)
    assert 1 <= paused.chunks_done < 10
    other = client.submit(uris[:1])  # the worker is free, and takes nothing of the paused job
    client.wait(other.id, WAIT_S)
    assert client.status(job.id).chunks_done == paused.chunks_done
    client.resume(job.id)
    assert_exactly_once(client, job.id, uris)


def test_a_chunk_of_a_cancelled_job_stops_before_its_end(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    uris = [(photos / "large-0.jpg").as_uri() for _ in range(5000)]
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit(uris, chunk_size=5000)
    wait_for_lease(client)
    assert client.cancel(job.id).state is JobState.CANCELLED
    wait_for_log(worker, f"job {job.id} chunk 0: chunk abandoned: lease lost")
    assert list(client.results(job.id)) == []
    client.delete(job.id)
    other = client.submit(uris[:1])
    assert_exactly_once(client, other.id, uris[:1])


def test_a_job_whose_images_are_mostly_missing_is_stopped_and_can_be_retried(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    portrait = (photos / "original-0.jpg").read_bytes()
    (folder / "another.jpg").write_bytes(portrait)  # an empty folder would be taken for one that is not mounted
    uris = [(folder / f"{number}.jpg").as_uri() for number in range(3000)]
    start_worker(FIQA_ALLOWED_SOURCES=folder.as_uri(), concurrency=2)
    job = client.submit(uris, chunk_size=100)
    status = client.wait(job.id, WAIT_S)
    assert status.state is JobState.FAILED
    assert status.reason is not None
    assert status.reason.endswith("images failed")
    assert status.failed < 3000
    missing = status.failed

    # Spread out: any chunk may have been cut off when the job was stopped.
    found = set(uris[::150])
    for number in range(0, 3000, 150):
        (folder / f"{number}.jpg").write_bytes(portrait)
    again = client.retry(job.id, all_failed=True)
    assert client.status(again.id).images >= missing
    client.wait(again.id, WAIT_S)
    scored = {result.uri for result in client.results(again.id, Selection(status=Status.SCORED))}
    assert scored <= found
    assert scored


@pytest.mark.usefixtures("s3_env")
def test_one_image_is_scored_now_next_to_a_large_job(
    redis_url: str, bucket: Bucket, photos: Path, start_worker: StartWorker
) -> None:
    uri = bucket.put("now.jpg", (photos / "original-0.jpg").read_bytes())
    start_worker(FIQA_ALLOWED_SOURCES=f"s3://,{photos.as_uri()}")
    with Client(redis_url, bucket.uri("fiqa")) as client:
        large = client.submit([(photos / "large-0.jpg").as_uri()] * 4000, chunk_size=10)
        result = client.score(Item(uri=uri, id="mine"), timeout_s=WAIT_S)
        assert (result.uri, result.id, result.status, len(result.faces)) == (uri, "mine", Status.SCORED, 1)
        assert client.status(large.id).state is JobState.RUNNING
        assert [job.id for job in client.jobs()] == [large.id]
        client.cancel(large.id)


@pytest.mark.usefixtures("s3_env")
def test_each_version_of_an_object_is_scored(
    redis_url: str, bucket: Bucket, photos: Path, start_worker: StartWorker
) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    versions = [
        bucket.client.put_object(Bucket=bucket.name, Key="a.jpg", Body=(photos / name).read_bytes())["VersionId"]
        for name in ("original-0.jpg", "noface-1.jpg")
    ]
    items = [Item(uri=bucket.uri("a.jpg"), version=version) for version in (*versions, None, "no-such-version")]
    start_worker()
    with Client(redis_url, "redis") as client:
        job = client.submit(items)
        client.wait(job.id, WAIT_S)
        results = list(client.results(job.id))
    assert [result.version for result in results] == [item.version for item in items]
    assert [result.status for result in results] == [
        Status.SCORED,
        Status.NO_FACE,
        Status.NO_FACE,
        Status.FAILED,
    ]


def test_a_finished_job_can_be_read_with_other_tools(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    uris = [path.as_uri() for path in sorted(photos.iterdir())]
    start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit(uris)
    assert_exactly_once(client, job.id, uris)
    shards = tmp_path / "storage" / "jobs" / job.id / "results" / "*.jsonl.gz"
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT status, count(*), max(list_max(list_transform(faces, lambda face: face.quality)))"
            " FROM read_json(?) GROUP BY status ORDER BY status",
            [str(shards)],
        ).fetchall()
    status = client.status(job.id)
    assert [row[:2] for row in rows] == [
        ("failed", status.failed),
        ("no_face", status.no_face),
        ("scored", status.scored),
    ]
    best = max(face.quality for result in client.results(job.id) for face in result.faces)
    assert rows[2][2] == pytest.approx(best)

    summary_file = tmp_path / "storage" / "jobs" / job.id / "summary.json"
    wait_until(summary_file.exists)
    summary = json.loads(summary_file.read_text())
    assert (summary["state"], summary["images"], summary["scored"]) == ("succeeded", len(uris), status.scored)
    assert summary["models"] == {"builtin_detector/builtin_quality": len(uris)}


def test_a_job_deleted_while_its_chunk_is_stored_does_not_come_back(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    uris = [(photos / "large-0.jpg").as_uri()] * 400
    job = client.submit(uris, chunk_size=400)
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    wait_for_lease(client)
    client.cancel(job.id)
    client.delete(job.id)
    wait_for_log(worker, f"job {job.id} chunk 0: ")
    assert list((tmp_path / "storage" / "jobs").iterdir()) == []
    assert ledger_of(client).connection.redis.keys(job_key("*")) == []
