"""Distributions of values in bounded memory: quantiles, and counts in bins of equal width."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


class Distribution:
    """Counts values, rounded to four digits.

    The memory depends on the number of different values, not on the number of values.
    """

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
        """Return quantiles by nearest rank.

        The quantile of a share is the smallest value v for which at least this share of all values is v or less.

        Args:
            shares: 0 to 1, ascending.

        Returns:
            One value per share; an empty list if there are no values.
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
        """Return the number of values in each bin."""
        found = [0] * bins.number
        for value, count in self._counts.items():
            found[bins.index(value)] += count
        return found


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal width with round edges.

    Attributes:
        step: the width of a bin: 1, 2 or 5 times a power of ten.
        first: the lower edge of the first bin, in steps.
        number: the number of bins.
    """

    step: float
    first: int
    number: int

    @classmethod
    def over(cls, distributions: Iterable[Distribution], *, at_most: int = 30) -> Bins:
        """Return bins that hold all values of these distributions. Each distribution must have values."""
        held = list(distributions)
        low, high = min(one.low for one in held), max(one.high for one in held)
        # Divide before subtracting: the difference of two huge values is infinite.
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
        """Return the lower edge of bin `number`. One more than the last bin gives the upper edge of the last bin."""
        return (self.first + number) * self.step


def _steps(value: float, step: float) -> int:
    return math.floor(round(value / step, 6))  # 0.3 / 0.1 is a little less than 3
