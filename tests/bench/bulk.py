"""The cost of large jobs: submit, Redis memory, status, tickets, a small job beside a large one, a whole run.

`python -m tests.bench bulk [--images N] [--large N] [--run N]`. Redis is real. The workers are real but score nothing:
this measures everything around the scoring. Times depend on the machine; ratios and bytes do not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fiqa import Client
from fiqa.broker import publish_tickets
from fiqa.contract import ImageResult, JobSpec
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import MAX_TICKETS
from tests.keys import QUEUE
from tests.servers import start_redis
from tests.worker_process import ANY_STORAGE

ROOT: Final = Path(__file__).parents[2]
_MIB: Final = 1024 * 1024
_SMALL_JOB: Final = 100
# A worker checks its models at its start, even if it scores nothing.
_CHECKED_MODELS: Final = {"FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality"}
_IMAGE_MS: Final = 4.4  # an LFW image on one core: a chunk takes as long as a real one

# Runs in a separate process, so that the peak memory is that of the submit alone.
_SUBMIT: Final = """
import resource, sys, time
from fiqa import Client
from fiqa.sources.manifest import read_source
from tests.keys import QUEUE
client = Client()
started = time.perf_counter()
job = client.submit(read_source([sys.argv[1]], on_bad_line=print))
print(job.id, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench bulk", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="size of the usual job")
    parser.add_argument("--large", type=int, default=10_000_000, help="size of the large job")
    parser.add_argument("--run", type=int, default=10_000_000, help="size of the job that runs to its end; 0: none")
    options = parser.parse_args()

    table = Table("what", "measured", "wanted", title="bulk jobs")
    with tempfile.TemporaryDirectory(prefix="fiqa-bulk-") as name, ExitStack() as stack:
        folder = Path(name)
        for part in ("redis", "storage"):
            (folder / part).mkdir()
        server = stack.enter_context(start_redis(folder / "redis"))
        os.environ["FIQA_REDIS_URL"] = server.url
        lists = {images: _write_list(folder, images) for images in sorted({options.images, options.large})}
        for storage in (str(folder / "storage"), "redis"):
            for images, source in lists.items():
                _measure_submit(table, server.url, storage, source, images)
        _measure_tickets(table, server.url)
        _measure_neighbors(table, server.url, str(folder / "storage"), lists[options.large], folder)
        if options.run:
            _measure_run(table, server.url, str(folder / "storage"), options.run, folder)
    Console().print(table)


def _write_list(folder: Path, images: int) -> Path:
    path = folder / f"{images}.txt"
    with path.open("w") as file:
        for number in track(range(images), f"a list of {images:,} URIs", console=_console()):
            file.write(f"s3://photo-archive/2026/camera-07/{number:09}.jpg\n")
    return path


def _measure_submit(table: Table, url: str, storage: str, source: Path, images: int) -> None:
    where = "Redis" if storage == "redis" else "a folder"
    with closing(redis.Redis.from_url(url)) as server, Client(url, storage) as client:
        server.flushall()
        empty = _used_memory(server)
        with _console().status(f"submitting {images:,} to {where}"):
            done = subprocess.run(
                [sys.executable, "-c", _SUBMIT, source],
                env={**os.environ, "FIQA_STORAGE": storage},
                capture_output=True,
                text=True,
                check=True,
            )
        job_id, seconds, peak_mib = done.stdout.split()
        table.add_row(f"submit {images:,} into {where}", f"{images / float(seconds):,.0f} images/s", ">= 100,000")
        table.add_row("  peak memory of the client", f"{float(peak_mib):.0f} MiB", "< 150")
        used = _used_memory(server) - empty
        if storage == "redis":
            table.add_row("  manifest in Redis", f"{used / images:.1f} bytes an image", "<= 12")
        else:
            _work_a_little(url)
            used = _used_memory(server) - empty
            table.add_row("  ledger and tickets in Redis", f"{used / _MIB:.2f} MiB", "< 3 MB")
        table.add_row("  status, in the server", f"{_status_us(server, client, job_id):.0f} us", "< 2,000")
        client.cancel(job_id)
        client.delete(job_id)


def _work_a_little(url: str) -> None:
    """Make the state of a running job: two chunks claimed, three released."""
    with closing(Ledger(url)) as ledger:
        held = [ledger.claim() for _ in range(5)]
        for claim in held[2:]:
            assert claim is not None
            ledger.release(claim)


def _used_memory(server: Any) -> int:
    return int(server.info("memory")["used_memory"])


def _status_us(server: Any, client: Client, job_id: str) -> float:
    """Return the microseconds of one status, from the statistics of the server."""
    reads = 200
    server.config_resetstat()
    for _ in range(reads):
        client.status(job_id)
    return sum(float(stats["usec"]) for stats in server.info("commandstats").values()) / reads


def _measure_tickets(table: Table, url: str) -> None:
    with closing(redis.Redis.from_url(url)) as server, closing(Ledger(url)) as ledger:
        server.flushall()
        job_id = new_job_id()
        submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="/nowhere")
        ledger.open(job_id, submission, chunks=100_000, images=25_600_000)
        publish_tickets(ledger)  # opens the connection
        rates = []
        for _ in range(5):
            server.delete(QUEUE)
            started = time.perf_counter()
            published = publish_tickets(ledger)
            rates.append(published / (time.perf_counter() - started))
            assert published == server.llen(QUEUE) == MAX_TICKETS
        table.add_row("tickets published", f"{sorted(rates)[2]:,.0f} a second", ">= 5,000")


def _measure_neighbors(table: Table, url: str, storage: str, large: Path, folder: Path) -> None:
    """Time a job of 100 images alone and beside a large job. Each image takes as long as a real one."""
    uris = [f"s3://photo-archive/now/{number}.jpg" for number in range(_SMALL_JOB)]
    environment = {"FIQA_BENCH_IMAGE_MS": str(_IMAGE_MS)}
    with Client(url, storage) as client, _worker(url, folder, environment):
        client.wait(client.submit(uris).id, 120)
        alone = [_seconds(client, uris) for _ in range(9)]
        with large.open() as file:
            big = client.submit((line.rstrip("\n") for line in file), name="large")
        beside = [_seconds(client, uris) for _ in range(9)]
        client.cancel(big.id)
    alone_s, beside_s = sorted(alone)[4], sorted(beside)[4]
    table.add_row(
        f"{_SMALL_JOB} images beside {big.images:,}",
        f"{beside_s:.2f} s, alone {alone_s:.2f} s: {beside_s / alone_s:.1f} times (worst {max(beside):.2f} s)",
        "<= 3 times",
    )


def _seconds(client: Client, uris: list[str]) -> float:
    time.sleep(0.37)  # so that it does not start at the same moment of each chunk
    started = time.perf_counter()
    client.wait(client.submit(uris).id, 600)
    return time.perf_counter() - started


def _measure_run(table: Table, url: str, storage: str, images: int, folder: Path) -> None:
    with Client(url, storage) as client, closing(redis.Redis.from_url(url)) as server:
        server.flushall()
        server.config_resetstat()
        job = client.submit(f"s3://photo-archive/2026/camera-07/{number:09}.jpg" for number in range(images))
        started = time.perf_counter()
        with _worker(url, folder, {}), _console().status(f"running {images:,}") as shown:
            peak = 0
            for status in client.watch(job.id):
                shown.update(f"running {images:,}: {status.images_done:,}")
                peak = max(peak, _used_memory(server))
        seconds = time.perf_counter() - started
        commands = sum(int(stats["calls"]) for stats in server.info("commandstats").values())
        stored = bytearray(images)
        for result in _results(client, job.id):
            stored[int(result.uri[-13:-4])] += 1
        exact = status.no_face == images and status.chunks_done == status.chunks and stored.count(1) == images
        table.add_row(
            f"a run of {images:,}, two processes, scoring nothing",
            f"{images / seconds:,.0f} images/s; counted {status.no_face:,}, stored once {stored.count(1):,}",
            "exact",
            style=None if exact else "red",
        )
        table.add_row("  peak memory of Redis", f"{peak / _MIB:.2f} MiB", "")
        table.add_row("  commands to Redis, tickets and status included", f"{commands / status.chunks:.0f} a chunk", "")


def _results(client: Client, job_id: str) -> Iterator[ImageResult]:
    shards = client.result_shards(job_id)
    for lines in track(shards, "counting", total=client.status(job_id).chunks, console=_console()):
        yield from map(ImageResult.decode, lines)


@contextmanager
def _worker(url: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    log = folder / "worker.log"
    with log.open("wb") as file:
        variables = {**environment, "FIQA_REDIS_URL": url, "FIQA_ALLOWED_STORAGES": ANY_STORAGE}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.scoreless", "worker", "--concurrency", "2"],
            env={**os.environ, **_CHECKED_MODELS, **variables},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _console() -> Console:
    return Console(stderr=True)
