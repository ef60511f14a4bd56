"""The charts of a report: counts by class, the share that passes a threshold, and quality against a measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fiqa.results.axes import Axis, Frame
from fiqa.results.distribution import Bins
from fiqa.results.drawing import Bar, Dots, Drawing, Line, Point, Shape
from fiqa.text import number

_GROUPS: Final = 12  # points of a trend
_LEAST_GROUP: Final = 5  # the median of fewer values says little
_DRAWN: Final = 400  # dots of an input in one chart
_SMALL: Final = (300.0, 190.0)  # the size of a chart of which there are many
_BAR_SHARE: Final = 0.8  # of the width of a class


def histogram(bins: Bins, series: Mapping[int, Sequence[int]], name: str) -> Drawing:
    """Draw counts by bin: one series as bars, several laid over each other, as outlines of their shares.

    Args:
        bins: the classes of the x axis.
        series: counts by bin, by the number of the input. All have values.
        name: of the x axis.
    """
    several = len(series) > 1
    heights = {place: _shares(counts) if several else list(counts) for place, counts in series.items()}
    frame = Frame(_across(bins, name), _up(max(map(max, heights.values())), shares=several))
    shapes: list[Shape] = []
    for place, found in heights.items():
        if several:
            shapes.append(Line("line", _outline(frame, bins, found), place))
            continue
        for index, height in enumerate(found):
            if height:
                low, high = bins.edge(index), bins.edge(index + 1)
                shapes.append(_bar(frame, (low, high), height, place, f"{low:.6g} to {high:.6g}: {number(height)}"))
    return frame.with_data([*shapes, frame.threshold])


def passing(bins: Bins, series: Mapping[int, Sequence[int]], name: str) -> Drawing:
    """Draw the share of values that pass a threshold, for each threshold.

    Args:
        bins: their edges are the thresholds.
        series: how many values pass each edge, by the number of the input.
        name: of the x axis.
    """
    frame = Frame(_across(bins, name), Axis.over(0, 100, unit=" %"))
    shapes: list[Shape] = [
        Line("line", [frame.at(bins.edge(n), 100 * count / counts[0]) for n, count in enumerate(counts)], place)
        for place, counts in series.items()
    ]
    return frame.with_data([*shapes, frame.threshold])


def bars(labels: Sequence[str], series: Sequence[Sequence[int]]) -> Drawing:
    """Draw counts by class as bars: the counts of one series, or the shares of several side by side.

    Args:
        labels: the names of the classes.
        series: counts by class, one series per input.
    """
    several = len(series) > 1
    heights = [_shares(counts) if several else list(counts) for counts in series]
    across = Axis(0, len(labels), {place + 0.5: label for place, label in enumerate(labels)})
    frame = Frame(across, _up(max(map(max, heights)), shares=several))
    width = _BAR_SHARE / len(series)
    shapes = []
    for place, found in enumerate(heights):
        for index, (label, height) in enumerate(zip(labels, found, strict=True)):
            left = index + (1 - _BAR_SHARE) / 2 + place * width
            tip = f"{label}: {height:.3g} %" if several else f"{label}: {number(height)}"
            shapes.append(_bar(frame, (left, left + width), height, place, tip))
    return frame.with_data(shapes)


def against(across: Axis, up: Axis, series: Mapping[int, Sequence[Point]]) -> Drawing:
    """Draw quality against a measure: dots for some images, and the median quality of groups of equal size.

    Args:
        across: the axis of the measure. Points outside of it are left out.
        up: the axis of the quality.
        series: pairs of measure and quality, by the number of the input.
    """
    frame = Frame(across, up, *_SMALL)
    inside = {place: [(x, y) for x, y in points if across.low <= x <= across.high] for place, points in series.items()}
    shapes: list[Shape] = [
        Dots("dots", [frame.at(x, y) for x, y in points[: _DRAWN // len(series)]], place)
        for place, points in inside.items()
        if points
    ]
    for place, points in inside.items():
        trend = [frame.at(x, y) for x, y in _medians(points)]
        if len(trend) > 1:
            shapes.append(Line("trend", trend, place))
    return frame.with_data(shapes)


def _medians(points: Sequence[Point]) -> list[Point]:
    """Return the median of x and of y, of groups of about equal size along x. Equal values of x are one group."""
    ordered = sorted(points)
    size = max(_LEAST_GROUP, math.ceil(len(ordered) / _GROUPS))
    groups: list[list[Point]] = []
    for point in ordered:
        if not groups or (len(groups[-1]) >= size and point[0] != groups[-1][-1][0]):
            groups.append([])
        groups[-1].append(point)
    return [
        (_median(x for x, _ in group), _median(y for _, y in group)) for group in groups if len(group) >= _LEAST_GROUP
    ]


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _across(bins: Bins, name: str) -> Axis:
    return Axis.over(bins.edge(0), bins.edge(bins.number), name, at_most=8)


def _up(highest: float, *, shares: bool) -> Axis:
    top = max(highest, 1)
    return Axis.over(0, top * 1.05, at_most=5, unit=" %") if shares else _counts(top)


def _counts(top: float) -> Axis:
    axis = Axis.over(0, top * 1.05, at_most=5)
    return Axis(0, axis.high, {value: number(value) for value in axis.ticks if value == round(value)})


def _shares(counts: Sequence[int]) -> list[float]:
    """Return each count in per cent of all."""
    total = sum(counts) or 1
    return [100 * count / total for count in counts]


def _bar(frame: Frame, sides: tuple[float, float], height: float, place: int, tip: str) -> Bar:
    left, top = frame.at(sides[0], height)
    right, bottom = frame.at(sides[1], 0)
    return Bar("bar", (left, top), right - left, bottom - top, place, tip)


def _outline(frame: Frame, bins: Bins, heights: Sequence[float]) -> list[Point]:
    steps = [(bins.edge(edge), height) for index, height in enumerate(heights) for edge in (index, index + 1)]
    return [frame.at(x, y) for x, y in [(bins.edge(0), 0.0), *steps, (bins.edge(bins.number), 0.0)]]
