"""Jobs through a real Redis, a real S3 and real workers: every image ends as exactly one result."""

from __future__ import annotations

import re
import signal
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fiqa import Client, ImageResult, Status
from fiqa.ledger.claims import ISOLATED_FROM_ATTEMPT
from fiqa.storage.shards import pack
from fiqa.storage.storage import open_storage
from tests.conftest import Bucket
from tests.integration import planted
from tests.integration.conftest import StartWorker, assert_exactly_once, wait_for_lease
from tests.keys import LEASES, QUEUE, UNACKED
from tests.ledger_of import ledger_of
from tests.waiting import WAIT_S, wait_until


def wait_until_quiet(client: Client) -> None:
    """Return when no ticket waits or is held. Surplus tickets end by themselves."""
    server = ledger_of(client).connection.redis
    wait_until(lambda: not (server.llen(QUEUE) or server.hlen(UNACKED)))


@pytest.mark.usefixtures("s3_env")
def test_photos_in_s3_become_results_in_s3(
    redis_url: str, bucket: Bucket, photos: Path, start_worker: StartWorker
) -> None:
    names = sorted(path.name for path in photos.iterdir())
    uris = [bucket.put(f"photos/{name}", (photos / name).read_bytes()) for name in names]
    start_worker(concurrency=2)
    with Client(redis_url, f"s3://{bucket.name}/fiqa") as client:
        job = client.submit(uris, name="portraits")
        results = assert_exactly_once(client, job.id, uris)
        wait_until_quiet(client)
        wait_until(lambda: ledger_of(client).ended() == [])  # tickets are forgotten once nothing is left to do
    by_name = dict(zip(names, results, strict=True))
    codes = {name: result.error.code for name, result in by_name.items() if result.error}
    assert codes == {"empty-0.jpg": "decode_failed", "cut-0.jpg": "decode_failed", "text-0.jpg": "unsupported_format"}
    assert [name for name, result in by_name.items() if result.status is Status.NO_FACE] == [
        "noface-1.jpg",
        "noface-2.jpg",
    ]
    assert len(by_name["group-0.jpg"].faces) > 1
    assert {(result.detector, result.quality_model) for result in results} == {("builtin_detector", "builtin_quality")}
    stored = [entry["Key"] for entry in bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="fiqa/")["Contents"]]
    chunks = range(job.chunks)
    assert stored == [
        f"fiqa/jobs/{job.id}/job.json",
        *(f"fiqa/jobs/{job.id}/manifest/{chunk:08}.jsonl.gz" for chunk in chunks),
        *(f"fiqa/jobs/{job.id}/results/{chunk:08}.jsonl.gz" for chunk in chunks),
        f"fiqa/jobs/{job.id}/summary.json",
    ]


@pytest.mark.usefixtures("s3_env")
def test_an_image_that_fails_affects_no_other_image(
    redis_url: str, bucket: Bucket, photos: Path, start_worker: StartWorker
) -> None:
    portrait = (photos / "original-0.jpg").read_bytes()
    good = bucket.put("good.jpg", portrait)
    expected = {
        good: None,
        bucket.uri("missing.jpg"): "not_found",
        f"s3://no-such-bucket-{bucket.name}/a.jpg": "not_found",
        "s3://elsewhere/a.jpg": "source_not_allowed",
        "file:///etc/passwd": "source_not_allowed",
        bucket.put("large.jpg", portrait + bytes(300_000)): "too_large",
        bucket.put("wide.jpg", (photos / "large-0.jpg").read_bytes()[:200_000]): "too_many_pixels",
        bucket.put("empty.jpg", b""): "decode_failed",
        bucket.put("text.jpg", b"hello"): "unsupported_format",
        bucket.put("cut.jpg", portrait[:-2000]): "decode_failed",
        bucket.put("again.jpg", portrait): None,
    }
    start_worker(
        FIQA_ALLOWED_SOURCES=f"s3://{bucket.name}/,s3://no-such-bucket-{bucket.name}",
        FIQA_MAX_IMAGE_BYTES="250000",
        FIQA_MAX_IMAGE_PIXELS="4000000",
    )
    with Client(redis_url, "redis") as client:
        job = client.submit(expected)
        results = assert_exactly_once(client, job.id, list(expected))
    assert {result.uri: result.error.code.value if result.error else None for result in results} == expected
    qualities = [result.faces[0].quality for result in results if result.faces]
    assert len(qualities) == 2
    assert qualities[0] == qualities[1]


def test_the_chunk_of_a_killed_worker_is_done_by_another(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    uris = [(photos / "large-0.jpg").as_uri() for _ in range(48)]
    first = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit(uris, chunk_size=24)
    wait_for_lease(client)
    first.process.kill()
    second = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), concurrency=2)
    assert_exactly_once(client, job.id, uris)
    assert second.process.poll() is None


def test_a_worker_that_gets_sigterm_releases_its_chunk_at_once(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    uris = [(photos / "large-0.jpg").as_uri() for _ in range(2000)]
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit(uris, chunk_size=1000)
    wait_for_lease(client)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(WAIT_S) == 0
    ledger = ledger_of(client)
    assert ledger.connection.redis.zcard(LEASES) == 0
    claim = ledger.claim()
    assert claim is not None
    assert (claim.job_id, claim.chunk, claim.attempt) == (job.id, 0, 1)


def test_a_shard_that_an_earlier_attempt_stored_is_counted_as_it_is(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    uris = [(photos / name).as_uri() for name in ("original-0.jpg", "noface-1.jpg")]
    job = client.submit(uris)
    early = [
        ImageResult(uri=uri, status=Status.NO_FACE, detector="early", quality_model="early").encode() for uri in uris
    ]
    storage = open_storage(client.status(job.id).storage, ledger_of(client).connection)
    assert storage.write_once(job.id, "results", 0, pack(early))
    start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    results = assert_exactly_once(client, job.id, uris)
    assert {result.detector for result in results} == {"early"}


def test_an_image_that_kills_workers_costs_four_attempts_and_the_others_are_scored(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    deadly = tmp_path / "deadly.jpg"
    deadly.write_bytes(planted.KILLS)
    uris = [path.as_uri() for path in (photos / "blur-1.jpg", deadly, photos / "blur-2.jpg", photos / "blur-3.jpg")]
    worker = start_worker(
        module="tests.integration.planted", FIQA_ALLOWED_SOURCES=photos.as_uri() + "," + tmp_path.as_uri()
    )
    job = client.submit(uris)
    results = assert_exactly_once(client, job.id, uris)
    codes = [result.error.code.value if result.error else None for result in results]
    assert codes == [None, "worker_crashed", None, None]
    assert worker.log.count("exited with 'signal 9 (SIGKILL)'") == ISOLATED_FROM_ATTEMPT + 1
    attempts = re.findall(rf" WARNING \d+ job {job.id} chunk 0: attempt (\d): an earlier attempt was lost ", worker.log)
    assert attempts == [str(number) for number in range(2, ISOLATED_FROM_ATTEMPT + 3)]


def test_an_image_that_hangs_ends_as_time_limit_and_the_others_are_scored(
    client: Client, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    stuck = tmp_path / "stuck.jpg"
    stuck.write_bytes(planted.HANGS)
    uris = [path.as_uri() for path in (photos / "blur-1.jpg", stuck, photos / "blur-2.jpg")]
    start_worker(
        module="tests.integration.planted",
        FIQA_ALLOWED_SOURCES=photos.as_uri() + "," + tmp_path.as_uri(),
        FIQA_IMAGE_TIME_LIMIT_S="2",
    )
    job = client.submit(uris)
    results = assert_exactly_once(client, job.id, uris)
    assert [result.error.code.value if result.error else None for result in results] == [None, "time_limit", None]


def test_a_slow_fetch_is_not_blamed_on_the_image_before_it(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    portrait = (photos / "original-0.jpg").read_bytes()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "slow" in self.path:
                time.sleep(8)  # less than the worker's timeout for S3, and four times the time limit of an image
            self.send_response(200)
            for name, value in (("Content-Length", str(len(portrait))), ("ETag", '"1"'), ("Last-Modified", self.date)):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(portrait)

        @property
        def date(self) -> str:
            return formatdate(usegmt=True)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        worker = start_worker(
            FIQA_IMAGE_TIME_LIMIT_S="2",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_address[1]}",
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"), "any"),
        )
        uris = ["s3://photos/quick.jpg", "s3://photos/slow.jpg"]
        results = assert_exactly_once(client, client.submit(uris).id, uris)
        server.shutdown()
    assert [result.error.code.value if result.error else None for result in results] == [None, "fetch_timeout"]
    assert "it will end as time_limit" not in worker.log


def test_tickets_that_the_broker_lost_are_topped_up(client: Client, photos: Path, start_worker: StartWorker) -> None:
    uris = [(photos / "original-0.jpg").as_uri() for _ in range(3)]
    job = client.submit(uris)
    ledger_of(client).connection.redis.delete(QUEUE)
    start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    assert_exactly_once(client, job.id, uris)
