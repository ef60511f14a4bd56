"""The competitors without servers, each in one process: reference, limit, pipeline."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import cv2
import numpy as np

from fiqa import ImageResult, Item
from fiqa.jobs.submit import chunked
from fiqa_worker.pipeline import pipeline as pipeline_module
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.settings import WorkerSettings
from tests.bench import cores
from tests.bench.reference import Reference

STAGES: Final = ("decode", "detect", "align", "score")
DECODE_MODES: Final = ("full", "fast")


@dataclass(frozen=True, slots=True)
class Slice:
    """What one competitor did in one turn.

    Attributes:
        processor_s: seconds of processor time of all its processes. 0 if the system does not report it.
        stages: seconds of processor time by stage, if the competitor measures them.
    """

    images: int
    faces: int
    seconds: float
    processor_s: float
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.images / self.seconds

    @property
    def processor_ms(self) -> float:
        """Processor time an image."""
        return 1000 * self.processor_s / self.images


class Loop:
    """A process that keeps its models between turns and runs on given cores."""

    def __init__(self, run: Callable[[Sequence[Path], int], Slice], on: Sequence[int]) -> None:
        self._run = run
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with cores.pinned(on):
            self._pool.submit(os.getpid).result()

    def turn(self, files: Sequence[Path], passes: int) -> Slice:
        """Make some passes over the files. The files are read before the clock starts, except by the pipeline."""
        return self._pool.submit(self._run, files, passes).result()

    def compare_decoding(self, files: Sequence[Path]) -> DecodeEffect | None:
        """Score each image with both ways of decoding. None if this fiqa does not have the setting."""
        return self._pool.submit(decode_effect, files).result() if "decode" in WorkerSettings.model_fields else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def reference(files: Sequence[Path], passes: int) -> Slice:
    """Run the zoo demo's steps."""
    cv2.setNumThreads(1)
    scorer = _reference()
    data = [path.read_bytes() for path in files]
    started, processor = time.perf_counter(), time.process_time()
    faces = sum(len(scorer.score(image)) for _ in range(passes) for image in data)
    return Slice(passes * len(data), faces, time.perf_counter() - started, time.process_time() - processor)


def limit(files: Sequence[Path], passes: int) -> Slice:
    """Run only the worker's own steps, one image at a time, from memory: no fetch, no queue, no results."""
    clock, loaded, memory = _timed_pipeline()
    clock.reset()
    memory.files = {path.as_uri(): path.read_bytes() for path in map(Path.resolve, files)}
    items = [Item(uri=uri) for uri in memory.files]
    faces = 0
    for _ in range(passes):
        for item in items:
            (result,) = loaded.run([item], quarantined={}, isolated=True)
            faces += len(result.faces)
    return Slice(
        passes * len(items), faces, sum(clock.wall.values()), sum(clock.processor.values()), dict(clock.processor)
    )


class _Clock:
    """Counts seconds by stage."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.wall = dict.fromkeys(STAGES, 0.0)
        self.processor = dict.fromkeys(STAGES, 0.0)

    def around(self, stage: str, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same step, timed."""

        def timed(*args: Any, **options: Any) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            done = step(*args, **options)
            self.processor[stage] += time.process_time() - processor
            self.wall[stage] += time.perf_counter() - wall
            return done

        return timed


class _Timed:
    """A detector or a scorer with timed methods."""

    def __init__(self, timed: object, stage: str, clock: _Clock) -> None:
        self._timed, self._stage, self._clock = timed, stage, clock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._timed, name)
        return self._clock.around(self._stage, found) if callable(found) else found


class _Memory:
    """A fetcher of files in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def fetch(self, uri: str, version: str | None = None) -> bytes:
        del version
        return self.files[uri]


@cache
def _timed_pipeline() -> tuple[_Clock, Pipeline, _Memory]:
    """Return the pipeline with clocks in it. It still decides for itself, for instance at which size to decode."""
    clock, memory, loaded = _Clock(), _Memory(), _pipeline()
    for name, stage in (("decode_reduced", "decode"), ("similarity", "align"), ("warp", "align")):
        setattr(pipeline_module, name, clock.around(stage, getattr(pipeline_module, name)))
    timed: dict[str, Any] = {
        "fetcher": memory,
        "detector": _Timed(loaded.detector, "detect", clock),
        "scorer": _Timed(loaded.scorer, "score", clock),
    }
    return clock, replace(loaded, **timed), memory


def pipeline(files: Sequence[Path], passes: int) -> Slice:
    """Run the pipeline over file:// URIs, in chunks like those of a job."""
    items = [Item(uri=path.resolve().as_uri()) for _ in range(passes) for path in files]
    loaded = _pipeline()
    faces = 0
    started, processor = time.perf_counter(), time.process_time()
    for chunk in chunked(items):
        faces += sum(len(result.faces) for result in _results(loaded, chunk))
    return Slice(len(items), faces, time.perf_counter() - started, time.process_time() - processor)


@dataclass(frozen=True, slots=True)
class DecodeEffect:
    """What FIQA_DECODE=fast changes.

    Attributes:
        faces: faces that both full and fast found.
        only_one: faces that only one of them found.
        mean: the mean difference of the scores of those faces.
        p99: its 99th percentile.
        speedup: the seconds of full over those of fast.
    """

    faces: int
    only_one: int
    mean: float
    p99: float
    speedup: float


def decode_effect(files: Sequence[Path]) -> DecodeEffect:
    """Score each image with FIQA_DECODE=full and with fast."""
    items = [Item(uri=path.resolve().as_uri()) for path in files]
    results, took = {}, {}
    for mode in DECODE_MODES:
        os.environ["FIQA_DECODE"] = mode
        loaded = Pipeline.load(WorkerSettings.load())
        list(_results(loaded, items[:1]))
        started = time.perf_counter()
        results[mode] = list(_results(loaded, items))
        took[mode] = time.perf_counter() - started
    apart: list[float] = []
    only_one = 0
    for full, fast in zip(results["full"], results["fast"], strict=True):
        pairs = _pairs(full, fast)
        apart.extend(pairs)
        only_one += len(full.faces) + len(fast.faces) - 2 * len(pairs)
    return DecodeEffect(
        faces=len(apart),
        only_one=only_one,
        mean=float(np.mean(apart)) if apart else 0.0,
        p99=float(np.percentile(apart, 99)) if apart else 0.0,
        speedup=took["full"] / took["fast"],
    )


def _pairs(full: ImageResult, fast: ImageResult) -> list[float]:
    """Return the score differences of an image's faces, which are matched by their boxes."""
    apart = []
    left = list(fast.faces)
    for face in full.faces:
        x, y, width, height = face.box
        for other in left:
            if abs(other.box[0] - x) < width / 4 and abs(other.box[1] - y) < height / 4:
                apart.append(abs(other.quality - face.quality))
                left.remove(other)
                break
    return apart


def _results(loaded: Pipeline, items: Sequence[Item]) -> Sequence[ImageResult]:
    return list(loaded.run(items, quarantined={}))


@cache
def _pipeline() -> Pipeline:
    return Pipeline.load(WorkerSettings.load())


@cache
def _reference() -> Reference:
    return Reference(Path(os.environ["BENCH_DETECTOR"]), Path(os.environ["BENCH_QUALITY"]))
