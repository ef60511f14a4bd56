"""Resident memory of a worker over many images: a table of the run, and the growth after the first 5,000.

    python -m tests.bench memory [--images 100000]

One real worker with one child and the built-in models scores a few dozen made images again and again. They end in all
ways: scored, without a face, failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import cv2

from fiqa import Client, JobState
from fiqa_worker.demo.photos import make_photos
from tests.servers import start_redis

LONG_SIDE: Final = 250
FORMATS: Final = (".jpg", ".jpg", ".png", ".webp")
WARM_UP: Final = 5_000
SAMPLES: Final = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fiqa-memory-") as name:
        folder = Path(name)
        uris = small_images(folder / "photos")
        with (
            start_redis(folder) as server,
            worker(server.url, folder) as pid,
            Client(server.url, str(folder / "storage")) as client,
        ):
            measure(client, pid, uris, options.images)


def small_images(folder: Path) -> list[str]:
    """Make the demo's photos smaller and in several formats. The broken ones stay as they are. Return their URIs."""
    folder.mkdir()
    for path, format_ in zip(make_photos(folder), cycle(FORMATS), strict=False):
        pixels = cv2.imread(str(path))
        if pixels is not None:
            path.unlink()
            scale = LONG_SIDE / max(pixels.shape[:2])
            cv2.imwrite(str(path.with_suffix(format_)), cv2.resize(pixels, None, fx=scale, fy=scale))
    return [path.as_uri() for path in sorted(folder.iterdir())]


@contextmanager
def worker(redis_url: str, folder: Path) -> Iterator[int]:
    """Run a worker during the block. Yield the id of its main process."""
    log = folder / "worker.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "fiqa", "worker", "--concurrency", "1"],
            env={
                **os.environ,
                "FIQA_REDIS_URL": redis_url,
                "FIQA_STORAGE": str(folder / "storage"),
                "FIQA_DETECTOR": "builtin_detector",
                "FIQA_QUALITY_MODEL": "builtin_quality",
                "FIQA_ALLOWED_SOURCES": (folder / "photos").as_uri(),
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
    finally:
        process.terminate()
        process.wait()


def measure(client: Client, main_pid: int, uris: list[str], images: int) -> None:
    job = client.submit(islice(cycle(uris), images))
    print(f"{images:,} images, {len(uris)} different ones; resident MB")
    print(f"{'images':>10} {'seconds':>8} {'child':>8} {'main':>8}")
    started = time.monotonic()
    following = WARM_UP
    first: tuple[float, float] | None = None
    child: int | None = None
    while True:
        status = client.status(job.id)
        if status.images_done >= following or status.state is not JobState.RUNNING:
            pid = pool_child(main_pid)
            if child not in (None, pid):
                raise RuntimeError("the child was replaced: see the worker's log")
            child = pid
            now = resident_mb(child), resident_mb(main_pid)
            first = first or now
            print(f"{status.images_done:10,} {time.monotonic() - started:8.1f} {now[0]:8.1f} {now[1]:8.1f}", flush=True)
            following = status.images_done + max(1, images // SAMPLES)
            if status.state is not JobState.RUNNING:
                break
        time.sleep(0.1)
    print(f"{status.state}: {status.scored:,} scored, {status.no_face:,} no face, {status.failed:,} failed")
    growth = [f"{100 * (end / start - 1):+.1f} %" for start, end in zip(first, now, strict=True)]
    print(f"growth after the first {WARM_UP:,}: child {growth[0]}, main process {growth[1]}")


def pool_child(main_pid: int) -> int:
    """Return the largest child. The others only track semaphores."""
    children = (Path("/proc") / str(main_pid) / "task" / str(main_pid) / "children").read_text().split()
    return max(map(int, children), key=resident_mb)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
