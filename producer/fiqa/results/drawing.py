"""A chart as a list of shapes, and its SVG. Each shape has a role; a style says how that role looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from xml.sax.saxutils import escape, quoteattr

Point: TypeAlias = tuple[float, float]  # x to the right and y down, in units of the drawing
# What a shape is for. `grid`, `axis`, `label`, `title`: everything around the data. `line`, `bar`, `dots`, `trend`: the
# data of one input. `threshold`: the line that the page's script moves.
Role: TypeAlias = Literal["grid", "axis", "label", "title", "line", "bar", "dots", "trend", "threshold"]
Style: TypeAlias = Callable[["Shape"], dict[str, str]]


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

    def moved(self, right: float, down: float) -> tuple[Shape, ...]:
        """Return the shapes at another place, as a part of a larger drawing."""
        return tuple(_moved(shape, right, down) for shape in self.shapes)


def svg(drawing: Drawing, title: str, style: Style, **attributes: str) -> str:
    """Return an <svg> element.

    Args:
        drawing: the shapes.
        title: for screen readers.
        style: returns the attributes that give a shape its looks.
        attributes: more attributes of the <svg> element.
    """
    opening = {"viewBox": f"0 0 {_short(drawing.width)} {_short(drawing.height)}", **attributes}
    opening |= {"role": "img", "aria-label": title}
    return f"<svg{_written(opening)}>{''.join(_element(shape, style(shape)) for shape in drawing.shapes)}</svg>"


def page_style(shape: Shape) -> dict[str, str]:
    """Return the classes of a shape, for the page's style sheet."""
    return {"class": shape.role if shape.color is None else f"{shape.role} color-{shape.color}"}


_DIGITS: Final = 1  # a tenth of a unit is less than a pixel of the page


def _short(value: float) -> str:
    return f"{round(value, _DIGITS):g}"


def _written(attributes: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())


def _element(shape: Shape, attributes: dict[str, str]) -> str:
    looks = _written(attributes)
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


def _moved(shape: Shape, right: float, down: float) -> Shape:
    match shape:
        case Line(role, points, color):
            return Line(role, [(x + right, y + down) for x, y in points], color)
        case Dots(role, points, color):
            return Dots(role, [(x + right, y + down) for x, y in points], color)
        case Bar(role, (x, y), width, height, color, tip):
            return Bar(role, (x + right, y + down), width, height, color, tip)
        case Text(role, (x, y), text, anchor, color):
            return Text(role, (x + right, y + down), text, anchor, color)
