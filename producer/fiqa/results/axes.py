"""The frame of a chart: its axes, and where a value is between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fiqa.results.drawing import Drawing, Line, Point, Shape, Text

WIDTH: Final = 460.0
HEIGHT: Final = 250.0
# Around the data, in units of the drawing.
LEFT: Final = 46.0
_RIGHT: Final = 14.0
RIGHT: Final = WIDTH - _RIGHT
_ABOVE: Final = 10.0
_BELOW: Final = 24.0

_LABEL_BELOW: Final = 16.0
_NAME_BELOW: Final = 36.0
_CAPITAL: Final = 4.0  # half the height of a digit


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        low: the value at its beginning.
        high: the value at its end.
        ticks: labels by value.
        name: what it shows.
        log: whether equal distances are equal factors. Then `low` is over 0.
    """

    low: float
    high: float
    ticks: dict[float, str]
    name: str = ""
    log: bool = False

    @classmethod
    def over(cls, low: float, high: float, name: str = "", *, at_most: int = 6, unit: str = "") -> Axis:
        """Return an axis over a range of values, with labels at round values."""
        if not low < high:
            low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
        return cls(low, high, {value: f"{value:.6g}{unit}" for value in _round_values(low, high, at_most)}, name)

    @classmethod
    def doubling(cls, low: float, high: float, name: str = "") -> Axis:
        """Return an axis whose labels are powers of two, from one of at most `low` to one of at least `high`."""
        first = math.floor(math.log2(low))
        last = max(first + 1, math.ceil(math.log2(high)))
        ticks = {2.0**power: f"{2**power:,}" for power in range(first, last + 1)}
        return cls(2.0**first, 2.0**last, ticks, name, log=True)

    def share(self, value: float) -> float:
        """Return where a value is: 0 at the beginning of the axis, 1 at its end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log2(low), math.log2(high), math.log2(max(value, 1e-9))
        # Divide before subtracting: the difference of two huge values is infinite.
        return min(1.0, max(0.0, (value / 2 - low / 2) / (high / 2 - low / 2)))


@dataclass(frozen=True, slots=True)
class Frame:
    """The two axes of a chart, and its size."""

    across: Axis
    up: Axis
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def right(self) -> float:
        """The right end of the axis across. Its left end is at LEFT."""
        return self.width - _RIGHT

    @property
    def bottom(self) -> float:
        return self.height - _BELOW

    def at(self, x: float, y: float) -> Point:
        """Return the place of a pair of values in the drawing."""
        place = LEFT + self.across.share(x) * (self.right - LEFT)
        return place, self.bottom - self.up.share(y) * (self.bottom - _ABOVE)

    def with_data(self, shapes: Sequence[Shape]) -> Drawing:
        """Return a drawing of the axes with this data in it."""
        drawn: list[Shape] = []
        for value, label in self.up.ticks.items():
            _, y = self.at(self.across.low, value)
            drawn += [
                Line("grid", [(LEFT, y), (self.right, y)]),
                Text("label", (LEFT - 6, y + _CAPITAL), label, "end"),
            ]
        drawn += shapes
        drawn.append(Line("axis", [(LEFT, self.bottom), (self.right, self.bottom)]))
        for value, label in self.across.ticks.items():
            x, _ = self.at(value, self.up.low)
            drawn += [
                Line("axis", [(x, self.bottom), (x, self.bottom + 4)]),
                Text("label", (x, self.bottom + _LABEL_BELOW), label, "middle"),
            ]
        if self.across.name:
            middle = (LEFT + self.right) / 2
            drawn.append(Text("label", (middle, self.bottom + _NAME_BELOW), self.across.name, "middle"))
        return Drawing(self.width, self.height, tuple(drawn))

    @property
    def threshold(self) -> Line:
        """The line that the page's script moves from the left end of the axis."""
        return Line("threshold", [(LEFT, _ABOVE), (LEFT, self.bottom)])


def _round_values(low: float, high: float, at_most: int) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten between two values, at most so many."""
    width = high / at_most - low / at_most
    power = 10.0 ** math.floor(math.log10(width))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(round(low / step, 6)), math.floor(round(high / step, 6))
        if last - first < at_most:
            break
    return [number * step for number in range(first, last + 1)]
