"""Counts results for a report, in bounded memory: counts, distributions, the best and the worst images and a sample."""

from __future__ import annotations

import gzip
import io
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fiqa.contract import ErrorCode, ImageResult, Status
from fiqa.errors import ContractError, SourceError
from fiqa.ledger.status import JobStatus
from fiqa.results.distribution import Distribution
from fiqa.results.measured import Measured
from fiqa.results.ranking import LISTED, Scores
from fiqa.text import count

# The lower bounds of all classes but the first: of the faces in an image, and of a face's height in pixels.
FACES_FROM: Final = (1, 2, 3, 4, 5, 10)
HEIGHT_FROM: Final = (16, 32, 64, 128, 256, 512)
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_MAX_WARNINGS: Final = 3
# Pairs of models in one input: far more than a job has. Without a limit a forged file could fill the memory with names.
_MAX_MODELS: Final = 16

OnBadLine = Callable[[SourceError], None]


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
        ranked: how many of the best and of the worst images are kept.
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
    ranked: int = LISTED

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
            if result.quality_model not in self.scores:
                self.scores[result.quality_model] = Scores(self.ranked)
            self.scores[result.quality_model].add(result)

    @property
    def images(self) -> int:
        return self.statuses.total()


def tally(results: Iterable[ImageResult], name: str, job: JobStatus | None = None, *, ranked: int = LISTED) -> Tally:
    """Count results as they come, without keeping them. `ranked` is that of Tally."""
    counted = Tally(name, job, ranked=ranked)
    for result in results:
        counted.add(result)
    return counted


def tally_file(
    path: Path,
    *,
    on_bad_line: OnBadLine,
    ranked: int = LISTED,
    seen: Callable[[Iterable[ImageResult]], Iterable[ImageResult]] = iter,
) -> Tally:
    """Count the results in a JSONL file (also .gz).

    Args:
        path: the file.
        on_bad_line: called with an error for each of the first three lines that are not results. If there are more, it
            is called once more at the end, with an error that names their number.
        ranked: that of Tally.
        seen: called with the results; what it returns is counted. It may show the progress.

    Raises:
        SourceError: the file cannot be read, or holds lines but no result.
    """
    bad = 0

    def skip(number: int, why: str) -> None:
        nonlocal bad
        bad += 1
        if bad <= _MAX_WARNINGS:
            on_bad_line(SourceError(f"{path}, line {number}: {why}"))

    counted = tally(seen(_read(path, skip)), str(path), ranked=ranked)
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
