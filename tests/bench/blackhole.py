"""`python -m tests.bench blackhole`: three good workers and one that is wrong but fast, wrong in each of four ways.

The images are really fetched, from a folder or from S3. They are not scored: instead, each takes a fixed time. Needs
root, for a machine on which a folder is not mounted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from fiqa import Client, Item
from fiqa.contract import JobState
from tests.refusing_s3 import refusing_s3
from tests.servers import S3Server, start_redis, start_s3
from tests.worker_process import ANY_STORAGE

ROOT: Final = Path(__file__).parents[2]
GOOD: Final = ("good-1", "good-2", "good-3")
BAD: Final = "bad"
_FILES: Final = 100
_START_S: Final = 120
_STOP_S: Final = 60
_JOB_S: Final = 900


@dataclass(frozen=True, slots=True)
class Way:
    """One way for a machine to be wrong.

    Attributes:
        source: where the images are: folder or s3.
        refusal: the answer of S3 to this machine, if S3 refuses it.
        hidden: the folder is not mounted there.
        environment: the settings of this machine only.
    """

    name: str
    source: str
    refusal: tuple[int, str] | None = None
    hidden: bool = False
    environment: Mapping[str, str] | None = None


WAYS: Final = (
    Way("missing mount", "folder", hidden=True),
    Way("wrong FIQA_ALLOWED_SOURCES", "folder", environment={"FIQA_ALLOWED_SOURCES": "s3://other/"}),
    Way("expired token", "s3", refusal=(400, "ExpiredToken")),
    Way("wrong credentials", "s3", refusal=(403, "InvalidAccessKeyId")),
)


@click.command()
@click.option("--images", type=click.IntRange(100), default=10_000, show_default=True)
@click.option("--image-ms", type=click.FloatRange(0), default=4.0, show_default=True, help="Instead of scoring.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="With and without the bad worker.")
def main(images: int, image_ms: float, rounds: int) -> None:
    """Measure what one bad worker costs."""
    table = Table("the bad machine", box=None, header_style="dim", pad_edge=False)
    for column in ("scored", "failed", "3 good alone, s", "with the bad one, s", "lost", "named as"):
        table.add_column(column, justify="left" if column == "named as" else "right")
    with tempfile.TemporaryDirectory() as name, start_s3() as s3:
        folder = Path(name)
        for way in WAYS:
            table.add_row(way.name, *_measure(way, folder / way.name.replace(" ", "-"), s3, images, image_ms, rounds))
    Console(width=Console(width=10_000).measure(table).maximum).print(table)


def _measure(way: Way, folder: Path, s3: S3Server, images: int, image_ms: float, rounds: int) -> Sequence[str]:  # noqa: PLR0917
    share = folder / "share"
    share.mkdir(parents=True)
    uris = _folder_uris(share) if way.source == "folder" else _s3_uris(s3, folder.name.lower())
    items = [Item(uri=uris[number % len(uris)], id=str(number)) for number in range(images)]
    environment = {**s3.env, "FIQA_ALLOWED_SOURCES": share.as_uri() if way.source == "folder" else "s3://"}
    environment |= {"FIQA_BENCH_IMAGE_MS": str(image_ms)}
    alone, together, scored, failed, named = [], [], 0, 0, ""
    with ExitStack() as stack:
        (folder / "redis").mkdir()
        redis = stack.enter_context(start_redis(folder / "redis"))
        client = stack.enter_context(closing(Client(redis.url, str(folder / "storage"))))
        environment |= {"FIQA_REDIS_URL": redis.url}
        for host in GOOD:
            stack.enter_context(_worker(host, environment, folder))
        _wait(lambda: len(client.workers()) == len(GOOD))
        with ExitStack() as bad:
            own = {**environment, **(way.environment or {})}
            if way.refusal:
                own |= {"AWS_ENDPOINT_URL": stack.enter_context(refusing_s3(*way.refusal))}
            for _ in range(rounds):
                bad.close()
                _wait(lambda: len(client.workers()) == len(GOOD))
                alone.append(_job(client, items)[0])
                bad.enter_context(_worker(BAD, own, folder, hides=share if way.hidden else None))
                _wait(lambda: len(client.workers()) > len(GOOD))
                seconds, done, lost = _job(client, items)
                together.append(seconds)
                scored, failed = scored + done, failed + lost
                found = [worker.problems for worker in client.workers() if worker.host == BAD]
                named = "; ".join(found[0].values()) if found else ""
    before, after = statistics.median(alone), statistics.median(together)
    share_lost = f"{100 * (after / before - 1):.1f} %"
    return [f"{scored:,}", f"{failed:,}", f"{before:.2f}", f"{after:.2f}", share_lost, named]


def _job(client: Client, items: Sequence[Item]) -> tuple[float, int, int]:
    """Run one job. Returns its seconds, and how many images were read and how many failed."""
    job = client.submit(items)
    status = job.wait(_JOB_S)
    if status.state is not JobState.SUCCEEDED or status.started is None or status.finished is None:
        raise RuntimeError(f"the job {status.state}: {status.reason}")
    job.delete()
    return status.finished - status.started, status.no_face + status.scored, status.failed


def _folder_uris(folder: Path) -> list[str]:
    for number in range(_FILES):
        (folder / f"{number}.jpg").write_bytes(os.urandom(20_000))
    return [path.as_uri() for path in sorted(folder.iterdir())]


def _s3_uris(s3: S3Server, bucket: str) -> list[str]:
    with closing(s3.client()) as client:
        client.create_bucket(Bucket=bucket)
        for number in range(_FILES):
            client.put_object(Bucket=bucket, Key=f"{number}.jpg", Body=os.urandom(20_000))
    return [f"s3://{bucket}/{number}.jpg" for number in range(_FILES)]


@contextmanager
def _worker(host: str, environment: Mapping[str, str], folder: Path, *, hides: Path | None = None) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.fetch_only", "worker", "--concurrency", "1"]
    if hides:
        command = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs "{hides}" && exec "$@"', "sh", *command]
    builtin = {"FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality"}
    builtin["FIQA_ALLOWED_STORAGES"] = ANY_STORAGE
    with (folder / f"{host}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **builtin, **environment, "FIQA_BENCH_HOST": host},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the workers do not come up, or do not end")
        time.sleep(0.1)
