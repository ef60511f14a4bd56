"""Compares the scores of an int8 model with those of the float model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.quantize.faces import Crops


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an int8 model's scores may be from the float model's.

    Attributes:
        mean: the largest mean difference.
        p99: the largest 99th percentile of the differences.
        rank: the least rank correlation.
    """

    mean: float = 0.01
    p99: float = 0.05
    rank: float = 0.98


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the scores of two models differ for the same faces.

    Attributes:
        faces: how many faces were compared.
        mean: the mean of the absolute differences.
        p99: the 99th percentile of the absolute differences.
        rank: Spearman's rank correlation. 0 if one model gives every face the same score.
        time_ratio: the time per face of the second model, divided by that of the first, on one thread of this machine.
    """

    faces: int
    mean: float
    p99: float
    rank: float
    time_ratio: float

    def beyond(self, limits: Limits) -> list[str]:
        """Return a text for each limit that is exceeded."""
        checks = (
            (self.mean <= limits.mean, f"the mean difference is over {limits.mean:g}"),
            (self.p99 <= limits.p99, f"the 99th percentile is over {limits.p99:g}"),
            (self.rank >= limits.rank, f"the rank correlation is under {limits.rank:g}"),
        )
        return [text for within, text in checks if not within]

    def report(self, limits: Limits) -> str:
        """Return one line for each number, with its limit."""
        return (
            f"score difference, mean             {self.mean:.4f}  (limit {limits.mean:g})\n"
            f"score difference, 99th percentile  {self.p99:.4f}  (limit {limits.p99:g})\n"
            f"rank correlation                   {self.rank:.4f}  (limit {limits.rank:g})\n"
            f"time a face, int8 over float       {self.time_ratio:.2f}"
        )


def compare(
    before: QualityScorer, after: QualityScorer, crops: Crops, *, progress: Callable[[int], object] = lambda _: None
) -> Agreement:
    """Score every face with both models in turn, so that other load on this machine slows both.

    Args:
        before: scores with the float model.
        after: scores with the int8 model.
        crops: N x 112 x 112 x 3 uint8 BGR.
        progress: called with the number of faces that were scored.
    """
    scores = np.empty((2, len(crops)))
    seconds = np.empty((2, len(crops)))
    for index in range(len(crops)):
        for row, scorer in enumerate((before, after)):
            started = time.perf_counter()
            scores[row, index] = scorer.score(crops[index : index + 1])[0]
            seconds[row, index] = time.perf_counter() - started
        progress(index + 1)
    differences = np.abs(scores[0] - scores[1])
    times = np.median(seconds, axis=1)
    return Agreement(
        faces=len(crops),
        mean=float(differences.mean()),
        p99=float(np.percentile(differences, 99)),
        rank=rank_correlation(scores[0], scores[1]),
        time_ratio=float(times[1] / times[0]),
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation: 1 for the same order, -1 for the reverse. Equal values share a rank."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[where]
    return ranks
