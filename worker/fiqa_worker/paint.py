"""Paints the figure of a report as a PNG file."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from fiqa.results.drawing import Bar, Drawing, Line, Point, Text
from fiqa.results.figure import look

_SCALE: Final = 2  # pixels of the file for a unit of the drawing
_FINER: Final = 3  # Pillow draws lines with hard edges: they are drawn larger, and reduced
_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}


def png(drawing: Drawing) -> bytes:
    """Return the drawing as a PNG file, two pixels for a unit of it."""
    scale = _SCALE * _FINER
    image = Image.new("RGB", (round(drawing.width * scale), round(drawing.height * scale)), "white")
    draw = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        looks = look(shape)
        match shape:
            case Bar(corner=(x, y), width=width, height=height):
                draw.rectangle([x * scale, y * scale, (x + width) * scale, (y + height) * scale], looks.fill)
            case Line(points=points):
                for piece in _dashed(points, looks.dash):
                    scaled = [(x * scale, y * scale) for x, y in piece]
                    draw.line(scaled, looks.stroke, round(looks.width * scale), joint="curve")
            case Text(start=(x, y), text=text, anchor=anchor):
                font = ImageFont.load_default(looks.size * scale)
                draw.text((x * scale, y * scale), text, looks.fill, font, _ANCHORS[anchor])
    size = round(drawing.width * _SCALE), round(drawing.height * _SCALE)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return file.getvalue()


def _dashed(points: Sequence[Point], dash: Sequence[float]) -> Iterator[list[Point]]:
    """Yield the pieces of a line that are drawn: the dashes, or the whole line."""
    if not dash:
        yield list(points)
        return
    lengths = cycle(dash)
    left, is_drawn = next(lengths), True
    piece = [points[0]]
    for start, end in pairwise(points):
        whole = math.dist(start, end)
        done = 0.0
        while whole - done > left:
            done += left
            share = done / whole
            corner = (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
            if is_drawn:
                yield [*piece, corner]
            left, is_drawn, piece = next(lengths), not is_drawn, [corner]
        left -= whole - done
        piece.append(end)
    if is_drawn:
        yield piece
