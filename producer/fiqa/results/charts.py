"""A report's charts: inline SVG by pygal, without script, style or link. The page's style sheet formats them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

from fiqa.errors import MissingDependencyError
from fiqa.results.distribution import Bins

_SIZE: Final = {"width": 460, "height": 250}
_MAX_LABELS: Final = 8


def histogram(title: str, bins: Bins, series: Sequence[Sequence[int]]) -> str:
    """Draw counts by bin: one series as bars, several as outlines of their shares.

    Args:
        title: for screen readers.
        bins: the classes of the x axis.
        series: counts by bin, one series per input. An input without values is an empty series, so that the others
            keep their colors.

    Returns:
        An <svg> element.
    """
    _, pygal = import_drawing()
    several = sum(map(bool, series)) > 1
    if several:
        chart = pygal.XY(**_options(shares=True), show_dots=False, include_x_axis=True)
    else:
        chart = pygal.Histogram(**_options(shares=False))
    for counts in series:
        chart.add("", _outline(_shares(counts)) if several and counts else _bars(bins, counts))
    # The x axis counts bins, so that values of any size can be drawn.
    every = next(every for every in (1, 2, 5, 10) if bins.number / every <= _MAX_LABELS)
    labeled = [number for number in range(bins.number + 1) if (bins.first + number) % every == 0]
    chart.x_labels = [{"value": number, "label": f"{bins.edge(number):.6g}"} for number in labeled]
    return _svg(chart, title)


def bars(title: str, labels: Sequence[str], series: Sequence[Sequence[int]]) -> str:
    """Draw counts by class as bars: the counts of one series, or the shares of several side by side.

    Args:
        title: for screen readers.
        labels: the names of the classes.
        series: counts by class, one series per input.

    Returns:
        An <svg> element.
    """
    _, pygal = import_drawing()
    several = len(series) > 1
    chart = pygal.Bar(**_options(shares=several))
    chart.x_labels = labels
    for counts in series:
        values = _shares(counts) if several else counts
        chart.add("", [{"value": value, "label": label} for value, label in zip(values, labels, strict=True)])
    return _svg(chart, title)


def _options(*, shares: bool) -> dict[str, Any]:
    return {
        **_SIZE,
        "css": [],
        "js": [],
        "no_prefix": True,
        "show_legend": False,
        "margin": 4,
        "min_scale": 2,
        "max_scale": 5,
        "value_formatter": (lambda value: f"{value:.3g} %") if shares else (lambda value: f"{value:,.0f}"),
    }


def _shares(counts: Sequence[int]) -> list[float]:
    """Return each count in per cent of all."""
    total = sum(counts) or 1
    return [100 * count / total for count in counts]


def _bars(bins: Bins, counts: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"value": (count, number, number + 1), "label": f"{bins.edge(number):.6g} to {bins.edge(number + 1):.6g}"}
        for number, count in enumerate(counts)
    ]


def _outline(heights: Sequence[float]) -> list[tuple[float, float]]:
    steps = [(float(x), height) for number, height in enumerate(heights) for x in (number, number + 1)]
    return [(0.0, 0.0), *steps, (float(len(heights)), 0.0)]


def _svg(chart: Any, title: str) -> str:
    """Return the parts of pygal's drawing that the page needs: shapes, axes, and a tooltip for each bar."""
    root = ET.fromstring(chart.render())  # noqa: S314  pygal made it of our numbers and labels
    for parent in root.iter():
        described: dict[str, str] = {}
        for node in list(parent):
            node.tag = node.tag.rpartition("}")[2]
            if node.tag == "desc":
                described[node.get("class", "")] = node.text or ""
            if node.tag in {"defs", "desc", "title"} or "overlay" in node.get("class", ""):
                parent.remove(node)
        if "label" in described:
            value = described["value"].partition(": ")[0]
            ET.SubElement(parent, "title").text = f"{described['label']}: {value}"
    attributes = {"viewBox": root.attrib["viewBox"], "class": "chart", "role": "img", "aria-label": title}
    root.tag, root.attrib = "svg", attributes
    return ET.tostring(root, encoding="unicode")


def import_drawing() -> tuple[Any, Any]:
    """Return jinja2 and pygal.

    Raises:
        MissingDependencyError: one of them is not installed.
    """
    # Imported only for a report.
    try:
        import jinja2  # noqa: PLC0415
        import pygal  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"a report needs {error.name}: pip install 'fiqa[report]'") from error
    # pygal hooks into every failed import, to look for extra map packages. Python 3.11 warns about such hooks.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return jinja2, pygal
