"""Counts results for a report, in bounded memory: counts, distributions, the best and the worst images."""

from __future__ import annotations

import gzip
import heapq
import io
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fiqa.contract import ErrorCode, ImageResult, Reason, Status
from fiqa.errors import ContractError, SourceError
from fiqa.ledger.status import JobStatus
from fiqa.results.distribution import Distribution
from fiqa.results.measured import Measured
from fiqa.text import count

LISTED: Final = 20  # images in the list of the best, and in that of the worst
# The lower bounds of all classes but the first: of the faces in an image, and of a face's height in pixels.
FACES_FROM: Final = (1, 2, 3, 4, 5, 10)
HEIGHT_FROM: Final = (16, 32, 64, 128, 256, 512)
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_MAX_WARNINGS: Final = 3
# Pairs of models in one input: far more than a job has. Without a limit a forged file could fill the memory with names.
_MAX_MODELS: Final = 16

OnBadLine = Callable[[SourceError], None]


@dataclass(frozen=True, slots=True)
class RankedImage:
    """An image, and the quality, the size in pixels and the reasons of its largest face."""

    quality: float
    uri: str
    id: str | None
    version: str | None
    face_width: float
    face_height: float
    faces: int
    reasons: tuple[Reason, ...] = ()


class Scores:
    """The scores of one quality model. Scores of two models are never comparable, so each model has its own."""

    def __init__(self) -> None:
        self.largest = Distribution()
        self.every = Distribution()
        # Heaps whose first image is the next to be dropped. The number keeps images of equal quality in their order.
        self._best: list[tuple[float, int, RankedImage]] = []
        self._worst: list[tuple[float, int, RankedImage]] = []
        self._number = 0

    def add(self, result: ImageResult) -> None:
        """Count an image that has a face."""
        for face in result.faces:
            self.every.add(face.quality)
        quality, box = result.faces[0].quality, result.faces[0].box
        self.largest.add(quality)
        self._number += 1
        best, worst = (quality, -self._number), (-quality, -self._number)
        if len(self._best) == LISTED and best < self._best[0][:2] and worst < self._worst[0][:2]:
            return  # true of nearly all images
        image = RankedImage(
            quality,
            result.uri,
            result.id,
            result.version,
            box[2],
            box[3],
            len(result.faces),
            result.faces[0].reasons or (),
        )
        for heap, key in ((self._best, best), (self._worst, worst)):
            heapq.heappush(heap, (*key, image))
            if len(heap) > LISTED:
                heapq.heappop(heap)

    @property
    def best(self) -> list[RankedImage]:
        """Return at most LISTED images by the quality of their largest face, the best first."""
        return [image for _, _, image in sorted(self._best, key=lambda ranked: ranked[:2], reverse=True)]

    @property
    def worst(self) -> list[RankedImage]:
        """Return the same, but the worst first."""
        return [image for _, _, image in sorted(self._worst, key=lambda ranked: ranked[:2], reverse=True)]


@dataclass(slots=True)
class Failure:
    """How many images failed with one code, and the URI and the message of the first of them."""

    uri: str
    message: str
    count: int = 0


@dataclass
class Tally:
    """One input of a report: a job, or a file of results.

    Attributes:
        name: the title of the input: the file's path, or the job's name and id.
        job: the job's status; None for a file.
        models: images by detector and quality model.
        scores: by quality model.
        faces: images that did not fail, by the classes of FACES_FROM.
        heights: faces, by the classes of HEIGHT_FROM.
        measured: the faces that have measures.
        ms: processing time of an image in milliseconds, without images that failed before they were decoded.
        bad_lines: lines that are not results and were left out.
    """

    name: str
    job: JobStatus | None = None
    statuses: Counter[Status] = field(default_factory=Counter)
    failures: dict[ErrorCode, Failure] = field(default_factory=dict)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    scores: dict[str, Scores] = field(default_factory=dict)
    faces: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    measured: Measured = field(default_factory=Measured)
    ms: Distribution = field(default_factory=Distribution)
    bad_lines: int = 0

    def add(self, result: ImageResult) -> None:
        """Count one image.

        Raises:
            SourceError: the results name more pairs of models than any job has.
        """
        self.statuses[result.status] += 1
        self.models[result.detector, result.quality_model] += 1
        if len(self.models) > _MAX_MODELS:
            raise SourceError(
                f"{self.name}: results of more than {_MAX_MODELS} pairs of models: split the file by model"
            )
        if result.ms:
            self.ms.add(result.ms)
        if result.error:
            failure = self.failures.setdefault(result.error.code, Failure(result.uri, result.error.message))
            failure.count += 1
            return
        self.faces[bisect_right(FACES_FROM, len(result.faces))] += 1
        for face in result.faces:
            self.heights[bisect_right(HEIGHT_FROM, face.box[3])] += 1
            self.measured.add(face)
        if result.faces:
            self.scores.setdefault(result.quality_model, Scores()).add(result)

    @property
    def images(self) -> int:
        return self.statuses.total()


def tally(results: Iterable[ImageResult], name: str, job: JobStatus | None = None) -> Tally:
    """Count results as they come, without keeping them."""
    counted = Tally(name, job)
    for result in results:
        counted.add(result)
    return counted


def tally_file(path: Path, *, on_bad_line: OnBadLine) -> Tally:
    """Count the results in a JSONL file (also .gz).

    Args:
        path: the file.
        on_bad_line: called with an error for each of the first three lines that are not results. If there are more, it
            is called once more at the end, with an error that names their number.

    Raises:
        SourceError: the file cannot be read, or holds lines but no result.
    """
    bad = 0

    def skip(number: int, why: str) -> None:
        nonlocal bad
        bad += 1
        if bad <= _MAX_WARNINGS:
            on_bad_line(SourceError(f"{path}, line {number}: {why}"))

    counted = tally(_read(path, skip), str(path))
    counted.bad_lines = bad
    if bad and not counted.images:
        raise SourceError(f"{path} holds no result: a report reads what `fiqa results` and `fiqa run` write as JSONL")
    if bad > _MAX_WARNINGS:
        on_bad_line(
            SourceError(
                f"{path}: {count(bad, 'line is not a result', 'lines in all are not results')}: left out of the report"
            )
        )
    return counted


def _read(path: Path, skip: Callable[[int, str], None]) -> Iterator[ImageResult]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            lines = io.BufferedReader(file) if isinstance(file, gzip.GzipFile) else file
            number = 0
            while line := lines.readline(_MAX_LINE_BYTES):
                number += 1
                is_whole = len(line) < _MAX_LINE_BYTES or line.endswith(b"\n")
                while line and not line.endswith(b"\n") and not is_whole:
                    line = lines.readline(_MAX_LINE_BYTES)
                if not is_whole:
                    skip(number, f"longer than {_MAX_LINE_BYTES:,} bytes")
                elif line.strip():
                    try:
                        result = ImageResult.decode(line)
                    except ContractError as error:
                        skip(number, str(error))
                    else:
                        yield result
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
