"""Chunks that fail for a lasting reason. A job with a damaged manifest ends. A job without its storage waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from fiqa.client import Client
from fiqa.contract import ErrorCode, ImageError, ImageResult, Item, JobOptions, JobState, Status
from fiqa.job import Job
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.workers import WorkerStatus
from fiqa.storage.shards import pack
from fiqa.storage.storage import open_storage
from fiqa_worker.pipeline.roots import Roots
from fiqa_worker.pipeline.watch import Watch
from fiqa_worker.service.chunk import ChunkProcessor
from fiqa_worker.service.drain import ChildDrain
from fiqa_worker.service.fleet import Fleet
from fiqa_worker.service.heartbeat import machine
from fiqa_worker.service.lasting import WRONG_ANSWERS
from fiqa_worker.service.standing import Standing
from tests.conftest import Bucket
from tests.keys import LEASES, job_key

URIS: Final = [f"s3://images/{number}.jpg" for number in range(100)]  # chunks of 16, the last of 4
pytestmark = pytest.mark.usefixtures("signals")


class Faceless:
    """Scores nothing: every image ends as no_face, or with the code of its quarantine."""

    def run(
        self,
        items: Sequence[Item],
        *,
        quarantined: Mapping[int, ErrorCode],
        watch: Watch,
        isolated: bool = False,
        options: JobOptions,
    ) -> Iterator[ImageResult]:
        del watch, isolated, options
        for index, item in enumerate(items):
            code = quarantined.get(index)
            yield ImageResult(
                uri=item.uri,
                status=Status.FAILED if code else Status.NO_FACE,
                error=ImageError(code=code, message="it is lost") if code else None,
                detector="d",
                quality_model="q",
            )


@pytest.fixture
def processor(ledger: Ledger) -> ChunkProcessor:
    return ChunkProcessor(
        ledger=ledger,
        open_storage=lambda url: open_storage(url, ledger.connection),
        load_pipeline=Faceless,
        standing=Standing(Roots(("s3://",)).root_of),
        fleet=Fleet(ledger.workers, machine=machine(), worker_id="", allowed=("s3://",)),
        fingerprint=str,
        drain=ChildDrain(60.0, sleep=lambda _: None, end=lambda _: None),
        publish_tickets=lambda: None,
        on_finished=lambda _: None,
        image_time_limit_s=60.0,
    )


@pytest.fixture
def client(redis_url: str, tmp_path: Path) -> Iterator[Client]:
    with Client(redis_url, str(tmp_path / "storage")) as client:
        yield client


def rounds(processor: ChunkProcessor, number: int) -> None:
    """Let a worker process all due chunks. When the delay of a failed chunk is over, it is tried again."""
    redis = processor.ledger.connection.redis
    for _ in range(number):
        for member in redis.zrange(LEASES, 0, -1):
            redis.zadd(LEASES, {member: 1})
        for _ in range(8):
            processor.process_next()


def shard(job: Job, part: str, chunk: int) -> Path:
    return Path(job.status().storage) / "jobs" / job.id / part / f"{chunk:08d}.jsonl.gz"


def lines(number: int) -> bytes:
    return pack(Item(uri=uri).encode() for uri in URIS[:number])


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: Final[dict[str, Callable[[Path], object]]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "a line less": lambda path: path.write_bytes(lines(15)),
    "a line more": lambda path: path.write_bytes(lines(17)),
    "no line": lambda path: path.write_bytes(lines(0)),
    "not items": lambda path: path.write_bytes(pack([b"{}"] * 16)),
    "a folder": _make_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_images_of_a_lost_manifest_shard_end_as_failed_and_the_job_ends(
    processor: ChunkProcessor, client: Client, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = client.submit(URIS)
    DAMAGES[damage](shard(job, "manifest", 2))
    rounds(processor, WRONG_ANSWERS - 1)
    waiting = job.status()
    assert (waiting.state, waiting.chunks_done) == (JobState.RUNNING, 6)
    assert "chunk 2" in str(waiting.last_error)

    rounds(processor, 1)
    status = job.status()
    assert (status.state, status.no_face, status.failed_by_code) == (JobState.SUCCEEDED, 84, {"manifest_lost": 16})
    assert any(line.startswith("chunk given up, its images end as manifest_lost: ") for line in caplog.messages)
    results = list(job.results())
    assert [result.uri for result in results if not result.error] == URIS[:32] + URIS[48:]
    assert [result.uri for result in results if result.error] == [
        f"lost:{job.id}/manifest/00000002#{number}" for number in range(1, 17)
    ]


def test_every_chunk_of_a_job_whose_files_are_gone_ends(processor: ChunkProcessor, client: Client) -> None:
    job = client.submit(URIS)
    (Path(job.status().storage) / "jobs" / job.id).rename(Path(job.status().storage) / "elsewhere")
    rounds(processor, WRONG_ANSWERS)
    status = job.status()
    assert (status.state, status.failed_by_code) == (JobState.SUCCEEDED, {"manifest_lost": 100})


@pytest.mark.usefixtures("s3_env")
def test_images_of_a_lost_object_fail_and_a_lost_bucket_is_waited_for(
    processor: ChunkProcessor, redis_url: str, bucket: Bucket
) -> None:
    with Client(redis_url, bucket.uri("fiqa")) as client:
        job = client.submit(URIS)
        bucket.client.delete_object(Bucket=bucket.name, Key=f"fiqa/jobs/{job.id}/manifest/00000000.jsonl.gz")
        rounds(processor, WRONG_ANSWERS)
        assert job.status().failed_by_code == {"manifest_lost": 16}

        waits = client.submit(URIS)
        processor.ledger.connection.redis.hset(job_key(waits.id), "storage", "s3://no-such-bucket/fiqa")
        rounds(processor, WRONG_ANSWERS + 2)
        assert (waits.status().state, waits.status().images_done) == (JobState.RUNNING, 0)
        assert "no such bucket" in str(waits.status().last_error)


def test_a_lost_shard_of_a_storage_in_redis_ends_as_failed(processor: ChunkProcessor, redis_url: str) -> None:
    with Client(redis_url, "redis") as client:
        job = client.submit(URIS)
        processor.ledger.connection.redis.hdel(job_key(job.id, "manifest"), 6)
        rounds(processor, WRONG_ANSWERS)
        assert job.status().failed_by_code == {"manifest_lost": 4}


def test_a_storage_that_is_not_mounted_is_waited_for(processor: ChunkProcessor, client: Client) -> None:
    job = client.submit(URIS)
    storage = Path(job.status().storage)
    storage.rename(storage.with_name("away"))
    storage.mkdir()
    rounds(processor, 2 * WRONG_ANSWERS)
    assert (job.status().state, job.status().images_done) == (JobState.RUNNING, 0)
    storage.rmdir()
    storage.with_name("away").rename(storage)
    rounds(processor, 1)
    assert (job.status().state, job.status().no_face) == (JobState.SUCCEEDED, 100)


def test_a_machine_that_finds_nothing_of_a_job_waits_for_another_machine(
    processor: ChunkProcessor, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit(URIS)
    (Path(job.status().storage) / "jobs" / job.id).rename(Path(job.status().storage) / "elsewhere")
    for host in (machine(), "other"):
        processor.ledger.workers.beat(WorkerStatus(id=f"{host}:1:0", host=host, pid=1), seconds=60)
    rounds(processor, 2 * WRONG_ANSWERS)
    assert job.status().images_done == 0
    monkeypatch.setattr("fiqa_worker.service.lasting.machine", lambda: "other")
    rounds(processor, 1)
    assert job.status().failed_by_code == {"manifest_lost": 100}


def test_a_chunk_that_fails_at_every_attempt_ends_as_internal_error(processor: ChunkProcessor, client: Client) -> None:
    class Fails(Faceless):
        def run(
            self,
            items: Sequence[Item],
            *,
            quarantined: Mapping[int, ErrorCode],
            watch: Watch,
            isolated: bool = False,
            options: JobOptions,
        ) -> Iterator[ImageResult]:
            if items[0].uri == URIS[16] and not quarantined:
                raise ZeroDivisionError("planted")
            yield from super().run(items, quarantined=quarantined, watch=watch, isolated=isolated, options=options)

    job = client.submit(URIS)
    rounds(replace(processor, load_pipeline=Fails), WRONG_ANSWERS)
    status = job.status()
    assert (status.state, status.failed_by_code) == (JobState.SUCCEEDED, {"internal_error": 16})


@pytest.mark.parametrize("data", [b"garbage", pack([b"{}"] * 16), pack([])], ids=["garbage", "not results", "no line"])
def test_a_damaged_shard_that_is_not_counted_is_replaced(
    processor: ChunkProcessor, client: Client, data: bytes
) -> None:
    job = client.submit(URIS)
    storage = open_storage(job.status().storage, processor.ledger.connection)
    storage.write_once(job.id, "results", 1, data)
    rounds(processor, 1)
    assert (job.status().state, job.status().no_face) == (JobState.SUCCEEDED, 100)
    assert [result.uri for result in job.results()] == URIS
