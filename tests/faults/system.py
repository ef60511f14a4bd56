"""The system that is injured: Redis, S3 behind a proxy, a small disk, and workers. Each can be broken alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import cv2
import redis

from fiqa import Client, Item
from fiqa.job import Job
from fiqa_worker.demo.photos import make_photos
from tests.dead_folder import dead, has_fuse
from tests.faults.clock import Clock, build_clock
from tests.faults.proxy import S3Proxy
from tests.integration.planted import HANGS, KILLS
from tests.servers import S3Server, free_ports
from tests.worker_process import ANY_STORAGE

ROOT: Final = Path(__file__).parents[2]
WORKERS: Final = 2
START_S: Final = 90.0
# Shorter than the time that workers are stopped for: no image must fail because of that.
IMAGE_TIME_LIMIT_S: Final = 10
CHUNK_IMAGES: Final = 10
# The sample images that cannot be scored, and the error codes that they end with.
BROKEN: Final = {"empty-0": "decode_failed", "cut-0": "decode_failed", "text-0": "unsupported_format"}
# An image on a file system that never answers.
STUCK: Final = "files/dead/stuck.jpg"
DISK_BYTES: Final = 4 * 1024 * 1024
# It limits a worker to about 8 / 0.03 images a second, so that a job lasts long enough to be injured.
S3_DELAY_S: Final = 0.03


class StuckError(Exception):
    """Something that must happen did not happen in time."""


def wait_until(what: str, happens: Callable[[], object], timeout_s: float) -> None:
    """Raises StuckError."""
    deadline = time.monotonic() + timeout_s
    while not happens():
        if time.monotonic() > deadline:
            raise StuckError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


class BreakableRedis:
    """redis-server with an append-only file, always on the same port."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self.clock = clock
        port = free_ports(1)
        self._port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # With everysec a write may wait 2 s for an fsync on a busy disk, and a kill then forgets a job just submitted.
        settings = f"--port {self._port} --bind 127.0.0.1 --appendonly yes --appendfsync no"
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", *settings.split(), "--save", "", "--dir", self._folder],
                env={**os.environ, **self.clock.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        with closing(redis.Redis(port=self._port)) as client:
            wait_until("Redis answers", lambda: _answers(client), START_S)
        if self._process.poll() is not None:
            raise StuckError(f"redis-server ended: is port {self._port} taken? {self._folder / 'redis.log'}")

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    def empty(self) -> None:
        """Delete all data. Call it only while the server is down."""
        shutil.rmtree(self._folder / "appendonlydir")


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:  # it is starting or loading
        return False


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    log_file: Path
    health_dir: Path
    clock: Clock

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def is_ready(self) -> bool:
        """Whether it is connected and has loaded its models."""
        return (self.health_dir / "ready").exists()

    def pool(self) -> list[int]:
        """Return the ids of the processes that score."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(FileNotFoundError, ProcessLookupError):
            return [int(pid) for pid in path.read_text().split() if b"spawn_main" in command_line(int(pid))]
        return []

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the main process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def command_line(pid: int) -> bytes:
    """Return the command line of a process; empty if the process is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


class System:
    """All parts of the system. It is healthy until it is injured."""

    def __init__(self, folder: Path, library: Path, s3: S3Server, seed: int) -> None:
        self._folder = folder
        self._library = library
        self._s3 = s3
        self._bucket = f"faults-{uuid4().hex}"
        self.redis = BreakableRedis(folder, Clock(library, folder / "redis.clock"))
        self.proxy = S3Proxy(urlsplit(s3.endpoint).port or 80, seed)
        self.disk = folder / "disk"
        self.storages = {"redis": "redis", "s3": f"s3://{self._bucket}/fiqa", "folder": str(self.disk / "storage")}
        self.workers: list[Worker] = []
        self.orphans: list[int] = []
        self._started = 0
        self._photos: list[str] = []
        self.rest_bytes = 0

    def client(self, storage: str) -> Client:
        return Client(self.redis.url, self.storages[storage])

    @property
    def server(self) -> Any:
        return redis.Redis.from_url(self.redis.url)

    def start(self) -> None:
        self.redis.start()
        self.proxy.start()
        self.proxy.delay_s = S3_DELAY_S
        with closing(self._s3.client()) as client:
            client.create_bucket(Bucket=self._bucket)
            for name, data in small_photos(self._folder / "photos"):
                client.put_object(Bucket=self._bucket, Key=f"photos/{name}", Body=data)
                self._photos.append(f"s3://{self._bucket}/photos/{name}")
            client.put_object(Bucket=self._bucket, Key="poison/kills.jpg", Body=KILLS)
            client.put_object(Bucket=self._bucket, Key="poison/hangs.jpg", Body=HANGS)
        self.heal()
        # Run one job first, so that Redis holds what it keeps for ever, such as scripts, when its memory is measured.
        with self.client("redis") as warm:
            job = self.submit(warm, 20, Random(0), [])
            warm.wait(job.id, START_S)
            warm.delete(job.id)
        self.note_rest()

    def note_rest(self) -> None:
        with closing(self.server) as server:
            self.rest_bytes = server.info("memory")["used_memory"]

    def stop(self) -> None:
        for worker in self.workers:
            worker.signal_all(signal.SIGKILL)
            worker.process.wait()
        self.redis.kill()
        self.proxy.stop()

    def submit(
        self, client: Client, images: int, random: Random, poison: list[str], *, chunk_images: int = CHUNK_IMAGES
    ) -> Job:
        """Submit a job of random images with the poison objects among them; the ids are "0", "1" and so on."""
        uris = [random.choice(self._photos) for _ in range(images - len(poison))]
        for key in poison:
            uri = (self._folder / key).as_uri() if key == STUCK else f"s3://{self._bucket}/{key}"
            uris.insert(random.randrange(len(uris)), uri)
        items = [Item(uri=uri, id=str(number)) for number, uri in enumerate(uris)]
        return client.submit(items, chunk_size=chunk_images, max_failed=1)

    def start_worker(self) -> Worker:
        """Start a worker and return at once. `heal` waits until the workers are ready."""
        worker = self._start({})
        self.workers.append(worker)
        return worker

    @contextmanager
    def bad_machine(self, environment: Mapping[str, str]) -> Iterator[Worker]:
        """Run one more worker during the block, on another machine and with other settings. It is ready."""
        worker = self._start({"FIQA_TEST_HOST": "bad", **environment})
        try:
            wait_until(f"{worker.log_file}: a worker is ready", worker.is_ready, START_S)
            yield worker
        finally:
            worker.process.terminate()
            worker.process.wait(START_S)

    def _start(self, environment: Mapping[str, str]) -> Worker:
        self._started += 1
        log_file = self._folder / f"worker-{self._started}.log"
        health_dir = self._folder / f"worker-{self._started}.health"
        clock = Clock(self._library, self._folder / f"worker-{self._started}.clock")
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.planted", "worker", "--concurrency", "1"],
                env={
                    **os.environ,
                    **self._s3.env,
                    **clock.environment,
                    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}",
                    "FIQA_REDIS_URL": self.redis.url,
                    "FIQA_ALLOWED_STORAGES": ANY_STORAGE,
                    "FIQA_DETECTOR": "builtin_detector",
                    "FIQA_QUALITY_MODEL": "builtin_quality",
                    "FIQA_ALLOWED_SOURCES": f"s3://{self._bucket}/,{(self._folder / 'files').as_uri()}",
                    "FIQA_HEALTH_DIR": str(health_dir),
                    "FIQA_DRAIN_S": "60",  # these tests do not measure how long a drain takes
                    "FIQA_IMAGE_TIME_LIMIT_S": str(IMAGE_TIME_LIMIT_S),
                    **environment,
                },
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Worker(process, log_file, health_dir, clock)

    def heal(self) -> None:
        """Do what an operator would do: repair S3 and the clocks, and start the workers that are missing."""
        self.proxy.heal()
        self.redis.clock.shift(0)
        for worker in self.workers:
            worker.clock.shift(0)
        self.workers = [worker for worker in self.workers if worker.is_running]
        while len(self.workers) < WORKERS:
            self.start_worker()
        for worker in self.workers:
            wait_until(f"{worker.log_file}: a worker is ready", worker.is_ready, START_S)

    def running_orphans(self) -> list[int]:
        """Return the children that still run although their parent was killed."""
        return [pid for pid in self.orphans if b"spawn_main" in command_line(pid)]


def small_photos(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield images that take a few ms each: with faces, without faces, and broken ones."""
    for path in make_photos(folder):
        if path.stem in BROKEN:
            yield path.name, path.read_bytes()
        else:
            image = cv2.imread(str(path))
            assert image is not None
            scale = 200 / max(image.shape[:2])
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield path.name, cv2.imencode(".jpg", small)[1].tobytes()


@contextmanager
def start_system(folder: Path, s3: S3Server, seed: int) -> Iterator[System]:
    """Start everything but S3; end it afterwards.

    Args:
        folder: An empty folder for logs and files.
        s3: A healthy server. The workers reach it through the proxy.
        seed: Of the proxy's random choices.
    """
    with ExitStack() as stack:
        for name, value in s3.env.items():
            stack.enter_context(_set(name, value))
        system = System(folder, build_clock(folder), s3, seed)
        system.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", system.disk], check=True)
        stack.callback(lambda: subprocess.run(["umount", "-l", system.disk], check=True))
        if has_fuse():
            (folder / "files").mkdir()
            stack.enter_context(dead((folder / STUCK).parent))
        stack.callback(system.stop)
        system.start()
        yield system


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
