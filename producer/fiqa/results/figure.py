"""The figure of a report: how quality is distributed, and what passes a threshold, as a drawing for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fiqa.errors import UsageError
from fiqa.results.axes import HEIGHT, WIDTH
from fiqa.results.charts import histogram, passing
from fiqa.results.drawing import Bar, Drawing, Line, Shape, Text, svg
from fiqa.results.tally import Tally
from fiqa.results.threshold import Thresholds
from fiqa.text import count, quality, shown

# The colors of the inputs, those of the page in light: people with any kind of color vision can distinguish them. The
# lines differ in their dashes too.
COLORS: Final = ("#2b5c8f", "#b8500f", "#2a7548", "#85418c", "#7a6200", "#b02f45")
_DASHES: Final = ((), (7, 3), (2, 3), (10, 3, 2, 3), (4, 4), (12, 6))
_INK: Final = "#1b1d20"
_SOFT: Final = "#575d65"
_RULE: Final = "#d8dce0"
_PAPER: Final = "#ffffff"

_MARGIN: Final = 24.0
_GAP: Final = 28.0
_LINE: Final = 20.0
_SWATCH: Final = 28.0
_MAX_NAME: Final = 90  # characters of an input's name
_FONT: Final = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Look:
    """How a shape of a file looks.

    Attributes:
        stroke: color of its lines, #rrggbb; empty for none.
        width: of its lines.
        dash: lengths of dashes and gaps in turn; empty for a solid line.
        fill: color of its area or its text; empty for none.
        size: of its text.
    """

    stroke: str = ""
    width: float = 1.0
    dash: tuple[float, ...] = ()
    fill: str = ""
    size: float = 12.0


def look(shape: Shape) -> Look:
    """Return how a shape looks on white paper."""
    color = COLORS[shape.color or 0]
    match shape.role:
        case "line":
            return Look(stroke=color, width=2, dash=_DASHES[shape.color or 0])
        case "bar":
            return Look(fill=_PAPER if shape.color is None else color)
        case "grid" | "axis":
            return Look(stroke=_RULE if shape.role == "grid" else _SOFT)
        case "title":
            return Look(fill=_INK, size=14)
        case "label":
            return Look(fill=_SOFT)
        case _:
            return Look()


def figure(tallies: Sequence[Tally]) -> Drawing:
    """Draw the histogram and the share that passes a threshold, all inputs over each other.

    Raises:
        UsageError: no image has a face, or several quality models scored the images.
    """
    models = sorted({name for tally in tallies for name in tally.scores})
    if len(models) != 1:
        found = f"{count(len(models), 'quality model')} scored these images" if models else "no image has a face"
        raise UsageError(f"a figure shows the scores of one quality model, and {found}")
    scores = {place: tally.scores[models[0]] for place, tally in enumerate(tallies) if models[0] in tally.scores}
    thresholds = Thresholds.of(scores)
    shapes: list[Shape] = []
    down = _MARGIN
    for place, each in scores.items():
        down += _LINE
        (median,) = each.largest.quantiles(0.5)
        name = shown(tallies[place].name, most=_MAX_NAME)
        text = f"{name}: {count(each.largest.total, 'image')} with a face, median quality {quality(median)}"
        middle = down - 4
        shapes += [
            Line("line", [(_MARGIN, middle), (_MARGIN + _SWATCH, middle)], place),
            Text("title", (_MARGIN + _SWATCH + 8, down), text),
        ]
    down += _LINE
    name = f"Quality by {models[0]}"
    largest = {place: each.largest.binned(thresholds.bins) for place, each in scores.items()}
    images = {place: each.images for place, each in thresholds.inputs.items()}
    drawings = (
        (
            "Share of images by the quality of their largest face" if len(scores) > 1 else "Images by quality",
            histogram(thresholds.bins, largest, name),
        ),
        ("Share of images that pass a threshold", passing(thresholds.grid, images, name)),
    )
    for column, (title, drawing) in enumerate(drawings):
        right = _MARGIN + column * (WIDTH + _GAP)
        shapes.append(Text("title", (right, down + _LINE), title))
        shapes += [shape for shape in drawing.moved(right, down + 1.5 * _LINE) if shape.role != "threshold"]
    width, height = 2 * (_MARGIN + WIDTH) + _GAP, down + 2.5 * _LINE + HEIGHT + _MARGIN
    paper = Bar("bar", (0, 0), width, height)
    return Drawing(width, height, (paper, *shapes))


def figure_svg(drawing: Drawing) -> bytes:
    """Return the figure as an SVG file that looks the same everywhere."""
    size = {"width": f"{drawing.width:g}", "height": f"{drawing.height:g}", "font-family": _FONT}
    return svg(drawing, "Face quality", _attributes, xmlns="http://www.w3.org/2000/svg", **size).encode()


def _attributes(shape: Shape) -> dict[str, str]:
    looks = look(shape)
    if isinstance(shape, Text):
        return {"fill": looks.fill, "font-size": f"{looks.size:g}"}
    found = {"fill": looks.fill or "none"}
    if looks.stroke:
        found |= {"stroke": looks.stroke, "stroke-width": f"{looks.width:g}", "stroke-linejoin": "round"}
    if looks.dash:
        found["stroke-dasharray"] = " ".join(f"{length:g}" for length in looks.dash)
    return found
