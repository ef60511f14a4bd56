from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from fiqa.results.axes import Axis
from fiqa.results.charts import against, bars, histogram, passing
from fiqa.results.distribution import Bins
from fiqa.results.drawing import Dots, Drawing, Line, svg
from fiqa.results.page import render
from fiqa.results.tally import tally
from tests.producer.results.pages import result


def lines(drawing: Drawing, role: str) -> dict[int | None, Line]:
    return {shape.color: shape for shape in drawing.shapes if isinstance(shape, Line) and shape.role == role}


def test_inputs_of_one_model_share_a_chart_each_in_its_color() -> None:
    low, high = (tally([result(f"s3://{name}/{n}", base + n / 100) for n in range(40)], name) for name, base in
                 (("low", 0.1), ("high", 0.5)))  # fmt: skip
    html = render([low, high])
    charts = re.findall(r"<svg[^>]*(?:Quality of|pass a threshold).*?</svg>", html)
    assert len(charts) == 2
    for chart in charts:
        assert re.findall(r"class=\"line color-(\d)\"", chart) == ["0", "1"]
    assert "never comparable" not in html


def test_the_line_of_what_passes_falls_from_all_to_none() -> None:
    drawn = lines(passing(Bins(0.25, 0, 4), {0: [8, 6, 6, 2, 0]}, ""), "line")[0].points
    heights = [y for _, y in drawn]
    assert heights == sorted(heights)
    top, bottom = heights[0], heights[-1]
    assert [round((bottom - y) / (bottom - top), 3) for y in heights] == [1, 0.75, 0.75, 0.25, 0]
    assert [x for x, _ in drawn] == sorted({x for x, _ in drawn})


def test_several_inputs_are_outlines_of_their_shares_and_one_is_bars() -> None:
    bins = Bins(0.5, 0, 2)
    one = histogram(bins, {3: [1, 3]}, "")
    assert not lines(one, "line")
    assert [shape.color for shape in one.shapes if shape.role == "bar"] == [3, 3]
    two = lines(histogram(bins, {0: [1, 3], 2: [500, 1500]}, ""), "line")
    assert two[0].points == two[2].points  # the same shares


def test_the_trend_of_a_chart_is_the_median_of_groups() -> None:
    points = [(float(n), n / 100) for n in range(100)]
    drawn = lines(against(Axis.over(0, 99), Axis.over(0, 1), {0: points, 1: points[:4]}), "trend")
    assert list(drawn) == [0]  # four points have no trend
    assert 10 <= len(drawn[0].points) <= 12
    assert sorted(drawn[0].points) == list(drawn[0].points)


def test_equal_values_are_one_point_of_the_trend() -> None:
    points = [(0.0, n / 100) for n in range(100)] + [(1.0, 0.5)] * 20
    drawn = lines(against(Axis.over(0, 1), Axis.over(0, 1), {0: points}), "trend")
    assert len(drawn[0].points) == 2
    assert not lines(against(Axis.over(0, 1), Axis.over(0, 1), {0: points[:100]}), "trend")


def test_points_beyond_the_axis_are_left_out() -> None:
    drawing = against(Axis.over(0, 10), Axis.over(0, 1), {0: [(-1.0, 0.5), (5.0, 0.5), (11.0, 0.5)]})
    (dots,) = [shape for shape in drawing.shapes if isinstance(shape, Dots)]
    assert len(dots.points) == 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7), (0.5, 0.5), (0, 0), (-1e308, 1e308), (1e-300, 2e-300)])
def test_an_axis_takes_any_range(low: float, high: float) -> None:
    axis = Axis.over(low, high)
    assert axis.low < axis.high
    assert len(axis.ticks) <= 7
    assert all(0 <= axis.share(value) <= 1 for value in (low, high, *axis.ticks))
    assert axis.share(axis.low) == 0
    assert axis.share(axis.high) == 1


@pytest.mark.parametrize(("low", "high"), [(4, 4), (30, 700), (4, 8192)])
def test_a_doubling_axis_has_equal_distances_for_equal_factors(low: float, high: float) -> None:
    axis = Axis.doubling(low, high)
    shares = [axis.share(tick) for tick in axis.ticks]
    assert axis.low <= low <= high <= axis.high
    assert all(math.isclose(b - a, 1 / (len(shares) - 1)) for a, b in pairwise(shares))
    assert axis.share(0) == 0


def test_text_in_a_drawing_is_escaped() -> None:
    hostile = "<script>\"'&"
    drawing = bars([hostile], [[1]])
    root = ET.fromstring(svg(drawing, hostile))  # noqa: S314  our own
    assert root.get("aria-label") == hostile
    assert {element.tag for element in root.iter()} == {"svg", "path", "rect", "title", "text"}
