"""A chart of the page as shapes, and its SVG. Each shape has a role; the page's style sheet says how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from xml.sax.saxutils import escape, quoteattr

Point: TypeAlias = tuple[float, float]  # x to the right and y down, in units of the drawing
# What a shape is for. `grid`, `axis`, `label`: everything around the data. `line`, `bar`, `dots`, `trend`: the
# data of one input. `threshold`: the line that the page's script moves.
Role: TypeAlias = Literal["grid", "axis", "label", "line", "bar", "dots", "trend", "threshold"]


@dataclass(frozen=True, slots=True)
class Line:
    """Straight lines from point to point."""

    role: Role
    points: Sequence[Point]
    color: int | None = None  # the number of the input


@dataclass(frozen=True, slots=True)
class Bar:
    """A filled rectangle. `tip` is shown if the pointer is over it."""

    role: Role
    corner: Point  # top left
    width: float
    height: float
    color: int | None = None
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Dots:
    """A dot at each point."""

    role: Role
    points: Sequence[Point]
    color: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text. `start` is an end, or the middle, of its baseline."""

    role: Role
    start: Point
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    color: int | None = None


Shape: TypeAlias = Line | Bar | Dots | Text


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes, the later ones over the earlier ones."""

    width: float
    height: float
    shapes: tuple[Shape, ...]


def svg(drawing: Drawing, title: str) -> str:
    """Return an <svg> element.

    Args:
        drawing: the shapes.
        title: for screen readers.
    """
    opening = {"viewBox": f"0 0 {_short(drawing.width)} {_short(drawing.height)}", "class": "chart"}
    opening |= {"role": "img", "aria-label": title}
    return f"<svg{_written(opening)}>{''.join(map(_element, drawing.shapes))}</svg>"


_DIGITS: Final = 1  # a tenth of a unit is less than a pixel of the page


def _short(value: float) -> str:
    return f"{round(value, _DIGITS):g}"


def _written(attributes: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())


def _element(shape: Shape) -> str:
    looks = _written({"class": shape.role if shape.color is None else f"{shape.role} color-{shape.color}"})
    match shape:
        case Line(points=points):
            return f'<path{looks} d="M{"L".join(f"{_short(x)} {_short(y)}" for x, y in points)}"/>'
        case Dots(points=points):  # lines of no length, whose round ends are the dots
            return f'<path{looks} d="{"".join(f"M{_short(x)} {_short(y)}h0" for x, y in points)}"/>'
        case Bar(corner=(x, y), width=width, height=height, tip=tip):
            size = _written({"x": _short(x), "y": _short(y), "width": _short(width), "height": _short(height)})
            return f"<rect{looks}{size}><title>{escape(tip)}</title></rect>" if tip else f"<rect{looks}{size}/>"
        case Text(start=(x, y), text=text, anchor=anchor):
            place = _written({"x": _short(x), "y": _short(y), "text-anchor": anchor})
            return f"<text{looks}{place}>{escape(text)}</text>"
