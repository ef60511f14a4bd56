"""Measures the containers: sizes, the time to the first results, memory, and the speed of 1 and 2 workers.

    python -m tests.containers [--images FOLDER] [--rounds 3]

Needs root, and Docker: tests/containers/start-docker.sh --install. FOLDER holds large images for the memory's peak.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from fiqa import Client
from fiqa_worker.demo.photos import make_photos
from tests.containers.engine import BUCKET, IMAGES, STORAGE, Stack, start_docker, start_stack
from tests.waiting import wait_until

SPEED_IMAGES: Final = 2_000
# How often each of the large images is scored.
TIMES: Final = 8
# With cgroups of version 1, and of version 2.
PEAK_FILES: Final = "/sys/fs/cgroup/memory/memory.max_usage_in_bytes /sys/fs/cgroup/memory.peak"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    docker = start_docker()
    base = docker.inspect("fiqa-test-python")["Size"]
    for name in IMAGES:
        docker.build(name)
        size = docker.inspect(name)["Size"]
        print(f"{name}: {size / 1e6:.0f} MB, of which the base image is {base / 1e6:.0f} MB")
    begun = time.monotonic()
    with start_stack(docker) as stack:
        started = time.monotonic()
        stack.compose("run", "--rm", "demo")
        print(f"up: {started - begun:.1f} s; then the demo to its results: {time.monotonic() - started:.1f} s")
        os.environ |= stack.s3.env
        with Client(stack.redis_url, STORAGE) as client:
            if options.images:
                measure_memory(stack, client, options.images)
            measure_speed(stack, client, options.rounds)


def measure_memory(stack: Stack, client: Client, folder: Path) -> None:
    uris = upload(stack, sorted(folder.iterdir()))
    for processes in (1, 2):
        stack.scale(0)
        (worker,) = stack.scale(1, processes=processes)
        client.submit(uris * TIMES).wait()
        peak = max(read(stack, worker, PEAK_FILES))
        print(f"peak of a worker with {processes} processes over {len(uris) * TIMES} images: {peak / 1e6:.0f} MB")


def measure_speed(stack: Stack, client: Client, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos = [path for path in make_photos(Path(folder)) if path.name.startswith(("blur", "noise", "jpeg", "dark"))]
        uris = list(islice(cycle(upload(stack, photos)), SPEED_IMAGES))
    speeds: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count in (1, 2):
            workers = stack.scale(count, processes=1)
            wait_until(lambda count=count: len(client.workers()) == count)  # type: ignore[misc]
            before = sum(processor_s(stack, worker) for worker in workers)
            status = client.submit(uris).wait()
            assert status.started
            assert status.finished
            speeds[count].append(status.scored / (status.finished - status.started))
            costs[count].append((sum(processor_s(stack, worker) for worker in workers) - before) / status.scored)
    for count in (1, 2):
        speed, cost = statistics.median(speeds[count]), statistics.median(costs[count])
        print(f"{count} containers of 1 process: {speed:.0f} images/s, {cost * 1e3:.1f} ms of processor time per image")
    ratios = [two / one for one, two in zip(speeds[1], speeds[2], strict=True)]
    print(f"ratio of the speeds: {statistics.median(ratios):.2f}; by round: {', '.join(f'{x:.2f}' for x in ratios)}")


def processor_s(stack: Stack, container: str) -> float:
    """Return the processor time that a container has used so far."""
    nanoseconds, *_ = read(stack, container, "/sys/fs/cgroup/cpuacct/cpuacct.usage") or [
        1_000 * read(stack, container, "/sys/fs/cgroup/cpu.stat")[0]
    ]
    return nanoseconds / 1e9


def read(stack: Stack, container: str, files: str) -> list[int]:
    """Return all numbers in those of the files that exist."""
    text = stack.docker.run("exec", container, "sh", "-c", f"cat {files}", check=False).stdout
    return [int(word) for word in text.split() if word.isdigit()]


def upload(stack: Stack, files: list[Path]) -> list[str]:
    s3 = stack.s3.client()
    for path in files:
        s3.upload_file(str(path), BUCKET, f"measured/{path.name}")
    return [f"s3://{BUCKET}/measured/{path.name}" for path in files]


if __name__ == "__main__":
    main()
