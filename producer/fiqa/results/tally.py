"""What a report tells of results: counts, distributions, the best and the worst photos; in constant memory."""

from __future__ import annotations

import gzip
import heapq
import io
import math
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

LISTED: Final = 20
# Where each class but the first begins: of the number of faces in an image, and of a face's height in pixels.
FACES_FROM: Final = (1, 2, 3, 4, 5, 10)
HEIGHT_FROM: Final = (16, 32, 64, 128, 256, 512)
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_MAX_WARNINGS: Final = 3
# Of one input: far more than a job has. Without a limit a made-up file could fill the memory with names.
_MAX_MODELS: Final = 16

OnBadLine = Callable[[SourceError], None]


class Distribution:
    """Values counted by their first four digits: exact as far as a report shows them, however many there are."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()

    def add(self, value: float) -> None:
        self._counts[float(f"{value:.4g}")] += 1

    @property
    def total(self) -> int:
        return self._counts.total()

    @property
    def low(self) -> float:
        return min(self._counts)

    @property
    def high(self) -> float:
        return max(self._counts)

    def quantiles(self, *shares: float) -> list[float]:
        """By nearest rank: the smallest value that is not below this share of all values; none where there are none.

        Args:
            shares: 0 to 1, ascending.
        """
        total = self.total
        ranks = [max(1, math.ceil(share * total)) for share in shares]
        found: list[float] = []
        seen = 0
        for value in sorted(self._counts):
            seen += self._counts[value]
            while len(found) < len(ranks) and ranks[len(found)] <= seen:
                found.append(value)
        return found

    def binned(self, bins: Bins) -> list[int]:
        """How many are in each bin."""
        found = [0] * bins.number
        for value, count in self._counts.items():
            found[bins.index(value)] += count
        return found


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal width with round edges.

    Attributes:
        step: their width: 1, 2 or 5 times a power of ten.
        first: the lower edge of the first, in steps.
        number: how many.
    """

    step: float
    first: int
    number: int

    @classmethod
    def over(cls, distributions: Iterable[Distribution], *, at_most: int = 30) -> Bins:
        """Bins that hold all of these, none of which is empty."""
        held = list(distributions)
        low, high = min(one.low for one in held), max(one.high for one in held)
        # Divided before they are subtracted: the difference of two huge values is no number any more.
        width = (high / at_most - low / at_most) or abs(high) / at_most or 1 / at_most
        power = 10.0 ** math.floor(math.log10(width))
        # The last of these always fits.
        for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
            first = _steps(low, step)
            number = _steps(high, step) - first + 1
            if number <= at_most:
                break
        return cls(step, first, number)

    def index(self, value: float) -> int:
        return _steps(value, self.step) - self.first

    def edge(self, number: int) -> float:
        """The lower edge of a bin; that of one more than there are is the upper edge of the last."""
        return (self.first + number) * self.step


def _steps(value: float, step: float) -> int:
    return math.floor(round(value / step, 6))  # 0.3 / 0.1 is a little less than 3


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo and its largest face; box in pixels of the photo as displayed."""

    quality: float
    uri: str
    id: str | None
    version: str | None
    face_width: float
    face_height: float
    faces: int


class Scores:
    """What one quality model said. Scores of two models are never comparable, so each model has its own."""

    def __init__(self) -> None:
        self.largest = Distribution()
        self.every = Distribution()
        # Heaps whose first one is the next to leave; the number keeps photos of equal quality in the order they came.
        self._best: list[tuple[float, int, Photo]] = []
        self._worst: list[tuple[float, int, Photo]] = []
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
            return  # as nearly all are
        photo = Photo(quality, result.uri, result.id, result.version, box[2], box[3], len(result.faces))
        for heap, key in ((self._best, best), (self._worst, worst)):
            heapq.heappush(heap, (*key, photo))
            if len(heap) > LISTED:
                heapq.heappop(heap)

    @property
    def best(self) -> list[Photo]:
        """By the quality of the largest face, the best first; at most LISTED."""
        return [photo for _, _, photo in sorted(self._best, key=lambda entry: entry[:2], reverse=True)]

    @property
    def worst(self) -> list[Photo]:
        """Likewise, the worst first."""
        return [photo for _, _, photo in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]


@dataclass(slots=True)
class Failure:
    """The images that failed with one code, and the first of them."""

    uri: str
    message: str
    count: int = 0


@dataclass
class Tally:
    """One input of a report: a job, or a file of results.

    Attributes:
        name: for people.
        job: where it is one.
        models: images by the detector and the quality model they name.
        scores: by quality model.
        faces: images that did not fail by FACES_FROM's classes.
        heights: faces by HEIGHT_FROM's classes.
        ms: of the images that were worked on.
        bad_lines: lines that are no results, and are left out.
    """

    name: str
    job: JobStatus | None = None
    statuses: Counter[Status] = field(default_factory=Counter)
    failures: dict[ErrorCode, Failure] = field(default_factory=dict)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    scores: dict[str, Scores] = field(default_factory=dict)
    faces: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    ms: Distribution = field(default_factory=Distribution)
    bad_lines: int = 0

    def add(self, result: ImageResult) -> None:
        """Count one image.

        Raises:
            SourceError: it is of yet another model, beyond what any job has.
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
        if result.faces:
            self.scores.setdefault(result.quality_model, Scores()).add(result)

    @property
    def images(self) -> int:
        return self.statuses.total()


def tally(results: Iterable[ImageResult], name: str, job: JobStatus | None = None) -> Tally:
    """Count results as they come."""
    counted = Tally(name, job)
    for result in results:
        counted.add(result)
    return counted


def tally_file(path: Path, *, on_bad_line: OnBadLine) -> Tally:
    """Count a file of results, one JSON line an image, also .gz.

    Args:
        path: the file.
        on_bad_line: told of the first lines that are no results, and of how many there are.

    Raises:
        SourceError: it cannot be read, or holds lines but no result.
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
        on_bad_line(SourceError(f"{path}: {bad:,} lines in all are no results; the report leaves them out"))
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
