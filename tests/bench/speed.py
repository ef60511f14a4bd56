"""All competitors side by side in one run: reference, limit, pipeline, whole system, naive worker."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

import cv2
import onnxruntime as ort
from rich.console import Console

from fiqa.errors import FiqaError, UsageError
from fiqa_worker.models.locate import find
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.settings import WorkerSettings
from tests.bench import cores, image_sets, loops, tables
from tests.bench.figures import LIMIT, NAIVE, PIPELINE, REFERENCE, SYSTEM, SYSTEM_2, Figures, SetFigures, Start
from tests.bench.image_sets import ImageSet
from tests.bench.local_run import first_result_s as run_first_result_s
from tests.bench.loops import Loop
from tests.bench.system import BUCKET, Memory, Naive, System, first_result_s
from tests.servers import start_redis, start_s3

_DETECTOR: Final = "face_detection_yunet_2023mar.onnx"
_QUALITIES: Final = ("ediffiqa_tiny_jun2024.onnx", "ediffiqa_tiny_random.onnx")
# Work of a chunk, if two processes share a job: at its end, one of them waits for the other at most so long.
_CHUNK_S: Final = 0.5
_CHUNKS: Final = (16, 256)  # fiqa's smallest and largest chunk; a large job has mostly the largest
_WARM_KEY: Final = "portrait.jpg"

_console = Console(stderr=True)
_begun = time.monotonic()


@dataclass(frozen=True, slots=True)
class Running:
    """All processes that run during the whole benchmark, warm."""

    loops: Mapping[str, Loop]
    systems: Mapping[str, System]
    naive: Naive
    bucket: Any


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of images [default: photos that the project makes]")
    parser.add_argument("--models", type=Path, help=f"a folder with {_DETECTOR} and {' or '.join(_QUALITIES)}"
                        " [default: the built-in models]")  # fmt: skip
    parser.add_argument("--sets", nargs="+", choices=image_sets.NAMES, metavar="SET", help=", ".join(image_sets.NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12, help="length of a job in the whole system [default: 12]")
    parser.add_argument("--no-start", action="store_true", help="do not measure the starts of workers")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few images, one round, short jobs")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON too; without FILE, print it instead of tables"
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.3
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no server stays
    try:
        figures = measure(options)
    except FiqaError as error:
        sys.exit(f"bench: {error}")
    text = json.dumps(figures.as_json(), indent=1)
    if options.json == "-":
        print(text)
        return
    if options.json:
        Path(options.json).write_text(text + "\n")
    tables.show(figures, Console(width=None if sys.stdout.isatty() else 130))


def _log(what: str) -> None:
    _console.print(f"{time.monotonic() - _begun:6.1f} s  {what}", highlight=False)


def measure(options: argparse.Namespace) -> Figures:
    """Run the whole benchmark."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fiqa-bench-")))
        models = _choose_models(options.models)
        cv2.setNumThreads(1)
        _log("making the images")
        detector = Pipeline.load(WorkerSettings.load()).detector
        sets = image_sets.collect(options.data, folder, detector, names=options.sets, quick=options.quick)
        plan = cores.Plan.make()
        _log("starting the servers")
        with cores.pinned(plan.servers):
            redis = stack.enter_context(start_redis(folder))
            s3 = stack.enter_context(start_s3())
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            os.environ.pop(name, None)
        os.environ |= s3.env
        bucket = s3.client()
        bucket.create_bucket(Bucket=BUCKET)
        portrait = resources.files("fiqa_worker").joinpath("demo", "portrait", "astronaut.jpg").read_bytes()
        bucket.put_object(Bucket=BUCKET, Key=_WARM_KEY, Body=portrait)
        urls = [redis.url.removesuffix("0") + str(number) for number in range(4)]
        stack.enter_context(cores.pinned(plan.servers))  # this program is only a client of the jobs
        starts = [] if options.no_start else _starts(options.rounds, urls[3], folder, portrait, plan)
        _log("starting the workers")
        running = Running(
            loops={
                name: stack.enter_context(Loop(run, plan.one))
                for name, run in ((REFERENCE, loops.reference), (LIMIT, loops.limit), (PIPELINE, loops.pipeline))
            },
            systems={
                SYSTEM: stack.enter_context(System.start(urls[0], 1, folder / "system-1.log", plan.one)),
                SYSTEM_2: stack.enter_context(System.start(urls[1], 2, folder / "system-2.log", plan.two)),
            },
            naive=stack.enter_context(Naive.start(urls[2], folder / "naive.log", plan.one)),
            bucket=bucket,
        )
        for system in running.systems.values():
            system.job(4 * [f"s3://{BUCKET}/{_WARM_KEY}"], chunk_size=1)
        running.naive.turn([_WARM_KEY])
        memory = Memory(at_rest=cores.memory_mb(running.systems[SYSTEM].child(), "VmRSS"), peak=None)
        machine = _machine(models, f"{redis.name}; {s3.name}", plan)
        figures = Figures(machine, options.rounds, [], memory, starts)
        for one in sets:
            child = running.systems[SYSTEM].child()
            if one.name == "36mp" and memory.at_rest is not None:
                cores.forget_peak(child)
            figures.sets.append(_measure_set(one, running, options.rounds, options.seconds))
            if one.name == "36mp":
                figures.memory = replace(memory, peak=cores.memory_mb(child, "VmHWM"))
        return figures


def _measure_set(one: ImageSet, running: Running, rounds: int, seconds: float) -> SetFigures:
    """Run all competitors in turn, for some rounds. Each makes whole passes over the set, so all do the same work."""
    _log(f"{one.name}: {len(one.files)} images, {one.mean_bytes / 1000:.0f} KB each")
    keys = [f"{one.name}/{number}{path.suffix}" for number, path in enumerate(one.files)]
    for key, path in zip(keys, one.files, strict=True):
        running.bucket.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    uris = [f"s3://{BUCKET}/{key}" for key in keys]
    for loop in running.loops.values():
        loop.turn(one.files[:2], 1)
    rate = running.loops[LIMIT].turn(one.files, 1).rate

    def passes(length_s: float) -> int:
        return max(1, round(rate * length_s / len(one.files)))

    smallest, largest = _CHUNKS
    chunk_size = max(smallest, min(round(rate * _CHUNK_S), largest))
    figures = SetFigures(one.name, one.about, len(one.files), one.mean_bytes, chunk_size)
    for processes, system in enumerate(running.systems.values(), start=1):
        system.job(processes * passes(seconds / 12) * uris, chunk_size=largest if processes == 1 else chunk_size)
    running.naive.turn(keys[:2])
    for number in range(rounds):
        _log(f"{one.name}: round {number + 1} of {rounds}")
        figures.add(REFERENCE, running.loops[REFERENCE].turn(one.files, passes(seconds / 12)))
        figures.add(LIMIT, running.loops[LIMIT].turn(one.files, passes(seconds / 3)))
        figures.add(PIPELINE, running.loops[PIPELINE].turn(one.files, passes(seconds / 3)))
        figures.add(SYSTEM, running.systems[SYSTEM].job(passes(seconds) * uris, chunk_size=largest))
        figures.add(NAIVE, running.naive.turn(passes(seconds / 6) * keys))
        figures.add(SYSTEM_2, running.systems[SYSTEM_2].job(2 * passes(seconds) * uris, chunk_size=chunk_size))
    _check_same_work(figures)
    figures.decode = running.loops[PIPELINE].compare_decoding(one.files)
    return figures


def _check_same_work(figures: SetFigures) -> None:
    faces = {name: figures.faces_per_image(name) for name in (LIMIT, PIPELINE, SYSTEM, SYSTEM_2)}
    if max(faces.values()) - min(faces.values()) > 1e-9:
        raise RuntimeError(f"{figures.name}: the competitors found different faces: {faces}")


def _starts(rounds: int, redis_url: str, folder: Path, portrait: bytes, plan: cores.Plan) -> list[Start]:
    _log("starting workers for their first results")
    (folder / "first").mkdir()
    (folder / "first" / _WARM_KEY).write_bytes(portrait)
    starts = []
    for number in range(rounds):
        log = folder / f"first-{number}.log"
        worker_s = first_result_s(redis_url, f"s3://{BUCKET}/{_WARM_KEY}", log, plan.one)
        with cores.pinned(plan.two):
            starts.append(Start(worker_s, run_first_result_s(folder / "first")))
    return starts


def _choose_models(folder: Path | None) -> str:
    """Put the models into the environment, which all processes inherit. Return their names."""
    if folder is None:
        os.environ |= {"FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality"}
    else:
        quality = next((name for name in _QUALITIES if (folder / name).is_file()), None)
        if quality is None or not (folder / _DETECTOR).is_file():
            raise UsageError(f"--models {folder}: it does not hold {_DETECTOR} and {' or '.join(_QUALITIES)}")
        os.environ |= {
            "FIQA_DETECTOR": str((folder / _DETECTOR).resolve()),
            "FIQA_QUALITY_MODEL": str((folder / quality).resolve()),
        }
    os.environ["FIQA_ALLOWED_SOURCES"] = "s3://,file:///"
    settings = WorkerSettings.load()
    detector = find(settings.detector, "detector", settings.models_dir)
    quality_model = find(settings.quality_model, "quality", settings.models_dir)
    os.environ |= {"BENCH_DETECTOR": str(detector.path), "BENCH_QUALITY": str(quality_model.path)}
    return f"{detector.name}, {quality_model.name}"


def _machine(models: str, servers: str, plan: cores.Plan) -> dict[str, str]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"OpenCV {cv2.__version__}, onnxruntime {ort.__version__}",
        "models": models,
        "servers": servers,
        "cores": str(plan),
        "notes": "one thread a process; jobs repeat the images; the reference and the naive worker detect at full "
        "resolution with the demo's threshold, 0.9, and score every face they find; two processes share their cores "
        "with the servers if the machine has only two; a chunk is 256 images, with two processes half a second of "
        "work",
    }
