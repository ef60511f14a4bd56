"""What the processes of a worker count for its metrics, in memory that they share.

Each pool process has a row of numbers, and only its main thread writes there. So no lock is needed, and no process
waits for another. A process that replaces another one continues its row. The main process reads all rows.
"""

from __future__ import annotations

import logging
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from fiqa.contract import ErrorCode, Status
from fiqa.ledger.claims import Counts
from fiqa_worker.pipeline.watch import Stage

_log = logging.getLogger(__name__)

# The upper limits of the buckets of each histogram, in seconds. An image of 250x250 spends 0.2 to 3 ms in a stage; a
# fetch may last until FIQA_IMAGE_TIME_LIMIT_S, 60 s by default.
BUCKETS_S: Final = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)
# The main process sets it, so that the processes of its pool find the memory. It is a path in /proc.
_VARIABLE: Final = "_FIQA_COUNTERS"
_NUMBER: Final = 8  # bytes of a float64

_OUTCOMES: Final = ((Status.SCORED, ""), (Status.NO_FACE, ""), *((Status.FAILED, code.value) for code in ErrorCode))
# Of a shard that a worker of a newer version has stored.
_OTHER: Final = (Status.FAILED, "other")
_FACES, _BYTES, _REDELIVERED, _IN_FLIGHT = range(4)
_IMAGES_AT: Final = {outcome: 4 + place for place, outcome in enumerate((*_OUTCOMES, _OTHER))}
_STAGE_WIDTH: Final = len(BUCKETS_S) + 2  # one number for each bucket, one for what is larger, and the sum
_STAGES_AT: Final = {stage: 4 + len(_IMAGES_AT) + place * _STAGE_WIDTH for place, stage in enumerate(Stage)}
_WIDTH: Final = 4 + len(_IMAGES_AT) + len(Stage) * _STAGE_WIDTH


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long a stage took.

    Attributes:
        counts: for each bucket, the number of images whose time is at most its limit and above the limit before; then
            the number of all slower images.
        sum_s: the sum of the times.
    """

    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all processes of a worker, since its start.

    Attributes:
        images: number of images in chunks that this worker counted, by status and error code. The code is empty unless
            the image failed.
        faces: number of faces in these images.
        bytes_fetched: bytes of all files that were read, also for chunks that this worker did not finish.
        redelivered: number of claimed chunks of which an earlier attempt was lost.
        chunks_in_flight: number of chunks in work now.
        stages: the times of all images on which this worker has worked.
    """

    images: Mapping[tuple[str, str], int]
    faces: int
    bytes_fetched: int
    redelivered: int
    chunks_in_flight: int
    stages: Mapping[Stage, Histogram]


class Counters:
    """The numbers of one process. Only one thread may call it."""

    def __init__(self, row: memoryview[float] | None = None) -> None:
        """Take a row of shared numbers. None: numbers that nobody reads."""
        self._row = memoryview(bytearray(_WIDTH * _NUMBER)).cast("d") if row is None else row
        self._row[_IN_FLIGHT] = 0  # the process before may have died in a chunk

    @classmethod
    def of_process(cls, place: int) -> Self:
        """Return the numbers of the pool process at this place. If the worker has no metrics, nobody reads them."""
        path = os.environ.get(_VARIABLE)
        if not path:
            return cls()
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError as error:
            _log.error("this process is missing in the metrics: cannot open %s: %s", path, error.strerror)
            return cls()
        try:
            shared = memoryview(mmap.mmap(descriptor, 0)).cast("d")
        finally:
            os.close(descriptor)
        return cls(shared[place * _WIDTH : (place + 1) * _WIDTH])

    @contextmanager
    def in_flight(self, *, attempt: int) -> Iterator[None]:
        """Wrap the work on a chunk.

        Args:
            attempt: the number of this attempt, from 1.
        """
        self._row[_REDELIVERED] += attempt > 1
        self._row[_IN_FLIGHT] = 1
        try:
            yield
        finally:
            self._row[_IN_FLIGHT] = 0

    def add_images(self, counts: Counts) -> None:
        """Add the images of a chunk that was counted in the ledger."""
        self._row[_IMAGES_AT[Status.SCORED, ""]] += counts.scored
        self._row[_IMAGES_AT[Status.NO_FACE, ""]] += counts.no_face
        for code, number in counts.failed.items():
            self._row[_IMAGES_AT.get((Status.FAILED, code), _IMAGES_AT[_OTHER])] += number
        self._row[_FACES] += counts.faces

    def add_work(self, seconds: Mapping[Stage, float], bytes_fetched: int) -> None:
        """Add the work on one image."""
        row = self._row
        row[_BYTES] += bytes_fetched
        for stage, duration in seconds.items():
            at = _STAGES_AT[stage]
            row[at + bisect_left(BUCKETS_S, duration)] += 1
            row[at + _STAGE_WIDTH - 1] += duration


class SharedCounters:
    """The numbers of all processes of a worker. The main process makes them before its pool starts."""

    def __init__(self, processes: int) -> None:
        """Make the memory, and let pool processes find it.

        Args:
            processes: the number of pool processes.
        """
        # An anonymous file has no name that a killed worker could leave behind.
        self._descriptor = os.memfd_create("fiqa-counters")
        os.ftruncate(self._descriptor, processes * _WIDTH * _NUMBER)
        self._shared = memoryview(mmap.mmap(self._descriptor, 0)).cast("d")
        os.environ[_VARIABLE] = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def totals(self) -> Totals:
        """Return the sums over all processes."""
        numbers = self._shared.tolist()
        sums = [sum(numbers[place::_WIDTH]) for place in range(_WIDTH)]
        return Totals(
            images={(status.value, code): int(sums[at]) for (status, code), at in _IMAGES_AT.items()},
            faces=int(sums[_FACES]),
            bytes_fetched=int(sums[_BYTES]),
            redelivered=int(sums[_REDELIVERED]),
            chunks_in_flight=int(sums[_IN_FLIGHT]),
            stages={
                stage: Histogram(
                    counts=tuple(map(int, sums[at : at + _STAGE_WIDTH - 1])), sum_s=sums[at + _STAGE_WIDTH - 1]
                )
                for stage, at in _STAGES_AT.items()
            },
        )
