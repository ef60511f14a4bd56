"""`fiqa run` against the pipeline alone: images a second with as many processes, and the time to the first result.

    python -m tests.bench local_run FOLDER [--processes N] [--rounds N]

Both run in turn, so that other load on the machine slows both. The models are those of FIQA_DETECTOR and
FIQA_QUALITY_MODEL, or those that `fiqa run` finds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from fiqa import Item
from fiqa.jobs.submit import chunked
from fiqa.sources.manifest import read_source
from fiqa_worker.cli.extras import models_or_builtin, own_settings
from fiqa_worker.local.environment import environment_of
from fiqa_worker.local.system import local_system
from fiqa_worker.settings import WorkerSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings = WorkerSettings.load()
    os.environ |= environment_of(own_settings(settings, *models_or_builtin(settings)))
    items = list(read_source([str(options.folder)], on_bad_line=print))
    alone, system, first = [], [], []
    for _ in range(options.rounds):
        alone.append(pipeline_rate(items, options.processes))
        system.append(system_rate(items, options.processes))
        first.append(first_result_s(options.folder))
    print(f"{len(items)} images, {options.processes} processes, median of {options.rounds} rounds")
    print(f"pipeline alone        {median(alone):8.1f} images/s")
    print(f"fiqa run              {median(system):8.1f} images/s")
    print(f"ratio                 {median(s / a for s, a in zip(system, alone, strict=True)):8.2f}")
    print(f"first result          {median(first):8.2f} s after the command")


def pipeline_rate(items: Sequence[Item], processes: int) -> float:
    """Return the images a second of processes that only run the pipeline."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    workers = [
        context.Process(target=_run_pipeline, args=(items[number::processes], barrier)) for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    barrier.wait()
    took = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return len(items) / took


def _run_pipeline(items: Sequence[Item], barrier: Barrier) -> None:
    from fiqa_worker.pipeline.pipeline import Pipeline  # noqa: PLC0415  in the child only

    pipeline = Pipeline.load(WorkerSettings.load())
    barrier.wait()
    for chunk in chunked(items):
        for _ in pipeline.run(chunk, quarantined={}):
            pass
    barrier.wait()


def system_rate(items: Sequence[Item], processes: int) -> float:
    """Return the images a second from the start of the first chunk to the end of the job. The worker runs before it."""
    with local_system(processes=processes, environment={}) as system:
        system.client.wait(system.client.submit(items[:1]).id)
        rate = system.client.wait(system.client.submit(items).id).images_per_s
    if rate is None:
        raise RuntimeError("the job has no rate")
    return rate


def first_result_s(folder: Path) -> float:
    """Return the seconds from the start of the command to its first line of results."""
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        command = [sys.executable, "-m", "fiqa", "run", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
            line = process.stdout.readline() if process.stdout else b""
            took = time.perf_counter() - started
            if process.stdout:
                process.stdout.read()
    if not line:
        raise RuntimeError("no result")
    return took
