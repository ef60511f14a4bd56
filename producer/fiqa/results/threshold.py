"""How many images and faces pass each threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from fiqa.results.distribution import Bins, Distribution
from fiqa.results.ranking import Scores

_STEPS: Final = 10  # thresholds in each bin of the histogram
_ROWS: Final = 10  # of the table, about


@dataclass(frozen=True, slots=True)
class Passing:
    """One input.

    Attributes:
        images: how many images pass each threshold: their largest face has at least this quality.
        faces: how many faces pass it.
    """

    images: list[int]
    faces: list[int]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of one quality model.

    Attributes:
        bins: the bins of the histogram. They hold every face of every input.
        grid: bins of a tenth of this width; each lower edge, and the last upper edge, is a threshold.
        inputs: what passes, by the number of the input.
    """

    bins: Bins
    grid: Bins
    inputs: Mapping[int, Passing]

    @classmethod
    def of(cls, scores: Mapping[int, Scores]) -> Thresholds:
        """Count what passes.

        Args:
            scores: of one model, by the number of the input.
        """
        bins = Bins.over(each.every for each in scores.values())
        grid = Bins(bins.step / _STEPS, bins.first * _STEPS, bins.number * _STEPS)
        inputs = {
            place: Passing(_passing(each.largest, grid), _passing(each.every, grid)) for place, each in scores.items()
        }
        return cls(bins, grid, inputs)

    @property
    def digits(self) -> int:
        """The decimals of a threshold."""
        return max(0, -math.floor(math.log10(self.grid.step)))

    @property
    def start(self) -> int:
        """The number of the threshold that drops about the worst tenth of all images."""
        total = sum(each.images[0] for each in self.inputs.values())
        return max(
            number
            for number in range(self.grid.number)
            if 10 * sum(each.images[number] for each in self.inputs.values()) >= 9 * total
        )

    @property
    def rows(self) -> list[int]:
        """The numbers of the thresholds in the table: about ten, at round values."""
        every = next(each for each in (1, 2, 5, 10) if self.bins.number / each <= _ROWS)
        return [
            number * _STEPS for number in range(1, self.bins.number) if (self.bins.first + number) % every == 0
        ]  # the first edge is left out: everything passes it


def _passing(distribution: Distribution, grid: Bins) -> list[int]:
    counts = [0, *reversed(distribution.binned(grid))]
    return list(accumulate(counts))[::-1]
