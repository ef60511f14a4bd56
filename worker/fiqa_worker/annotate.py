"""Draws what was found: faces on one picture, and a contact sheet of many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Face, ImageResult, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

Image: TypeAlias = NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

# Colors are BGR. Those of the quality can be told apart with any kind of color vision.
_WORST_TO_BEST: Final = ((40, 92, 230), (70, 204, 250), (140, 194, 44))
_INK: Final = (44, 38, 34)
_GRAY: Final = (140, 132, 126)
_RED: Final = (48, 40, 196)
_PAGE: Final = (250, 251, 251)
_MAT: Final = (230, 233, 235)

_PLAIN: Final = cv2.FONT_HERSHEY_SIMPLEX
_BOLD: Final = cv2.FONT_HERSHEY_DUPLEX
_CAPITAL: Final = 21  # pixels of a capital's height at size 1
_SMALL_FACE: Final = 24  # pixels of width; landmarks and a dark edge would hide a face below it

# The sheet's measures, in pixels.
_COLUMNS: Final = 7
_THUMB: Final = 220
_CAPTION: Final = 52
_GAP: Final = 20
_MARGIN: Final = 36
_HEADER: Final = 76


@dataclass(frozen=True)
class Cell:
    """One photo of a contact sheet.

    Attributes:
        name: printed under the photo; ASCII, since not every OpenCV draws more.
        image: H x W x 3 uint8 BGR, as displayed; None where nothing could be decoded.
        result: how the photo ended.
    """

    name: str
    image: Image | None
    result: ImageResult


@dataclass(frozen=True)
class _Style:
    """How text looks: its size in OpenCV's font scale, its color and its font."""

    size: float
    color: Color
    font: int = _PLAIN

    @property
    def thickness(self) -> int:
        return max(1, round(0.7 * self.size))


_TITLE: Final = _Style(0.85, _INK, _BOLD)
_NOTE: Final = _Style(0.5, _GRAY)
_NAME: Final = _Style(0.55, _INK)
_QUALITY: Final = _Style(0.55, _INK, _BOLD)
_NO_FACE: Final = _Style(0.55, _GRAY)
_ERROR: Final = _Style(0.55, _RED)
_DETAIL: Final = _Style(0.42, _GRAY)


@dataclass(frozen=True)
class _Scale:
    """The lowest and the highest quality of a sheet."""

    low: float
    high: float

    def color(self, quality: float) -> Color:
        position = (quality - self.low) / (self.high - self.low) if self.high > self.low else 1.0
        stops = np.linspace(0, 1, len(_WORST_TO_BEST))
        blue, green, red = (round(np.interp(position, stops, channel)) for channel in zip(*_WORST_TO_BEST, strict=True))
        return blue, green, red


def draw(image: Image, faces: Sequence[Face]) -> Image:
    """Draw the box, the landmarks and the quality of every face, all in one color.

    Args:
        image: H x W x 3 uint8 BGR; stays as it is.
        faces: in this image's pixels.

    Returns:
        A copy of the image, drawn on.
    """
    drawn = image.copy()
    color = _WORST_TO_BEST[1]
    for face in faces:
        _draw_marks(drawn, face, color)
    for face in faces:  # after all boxes, so that none crosses a number
        _draw_label(drawn, face, color)
    return drawn


def contact_sheet(cells: Sequence[Cell]) -> Image:
    """Lay out photos in a grid, in the order given, each with its name and how it ended.

    The quality under a photo is its largest face's. Colors run from the lowest quality of the sheet to the highest.

    Returns:
        The sheet, H x W x 3 uint8 BGR.
    """
    qualities = [face.quality for cell in cells for face in cell.result.faces]
    scale = _Scale(min(qualities, default=0.0), max(qualities, default=0.0))
    rows = -(-len(cells) // _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * (_THUMB + _GAP) - _GAP
    height = 2 * _MARGIN + _HEADER + rows * (_THUMB + _CAPTION + _GAP) - _GAP
    sheet = np.full((height, width, 3), _PAGE, np.uint8)
    _draw_header(sheet, cells)
    if qualities:
        _draw_legend(sheet, scale)
    for index, cell in enumerate(cells):
        row, column = divmod(index, _COLUMNS)
        x = _MARGIN + column * (_THUMB + _GAP)
        y = _MARGIN + _HEADER + row * (_THUMB + _CAPTION + _GAP)
        sheet[y : y + _THUMB, x : x + _THUMB] = _thumbnail(cell, scale)
        _draw_caption(sheet[y + _THUMB : y + _THUMB + _CAPTION, x : x + _THUMB], cell, scale)
    return sheet


def _draw_marks(image: Image, face: Face, color: Color, scale: float = 1.0) -> None:
    """Draw a face's box and landmarks, its coordinates times `scale`."""
    x, y, width, height = (value * scale for value in face.box)
    long_side = max(image.shape[:2])
    line = max(1, round(np.clip(0.015 * max(width, height), long_side / 800, long_side / 300)))
    corners = (round(x), round(y)), (round(x + width), round(y + height))
    if width < _SMALL_FACE:
        cv2.rectangle(image, *corners, color, line)
        return
    cv2.rectangle(image, *corners, _INK, line + 2)  # an edge that keeps the color apart from any background
    cv2.rectangle(image, *corners, color, line)
    for across, down in face.landmarks:
        center = (round(across * scale), round(down * scale))
        cv2.circle(image, center, line + 1, _INK, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(image, center, line, color, cv2.FILLED, cv2.LINE_AA)


def _draw_label(image: Image, face: Face, color: Color) -> None:
    """Write the quality on a strip above the box; where the image leaves no room there, over the box's edge."""
    image_height, image_width = image.shape[:2]
    long_side = max(image_height, image_width)
    text = f"{face.quality:.3f}"
    capital = max(10, np.clip(0.12 * face.box[3], long_side / 80, long_side / 40))
    style = _Style(capital / _CAPITAL, _INK, _BOLD)
    width, height, pad = _strip(text, style)
    if width > image_width or height > image_height:
        style = _Style(style.size * min(image_width / width, image_height / height), _INK, _BOLD)
        width, height, pad = _strip(text, style)
    left = round(max(0, min(face.box[0], image_width - width)))
    top = round(max(0, min(face.box[1] - height, image_height - height)))
    cv2.rectangle(image, (left, top), (left + width - 1, top + height - 1), color, cv2.FILLED)
    _write(image, text, (left + pad, top + height - pad), style)


def _strip(text: str, style: _Style) -> tuple[int, int, int]:
    """Width and height of the strip that the text stands on, and the margin inside it."""
    capital = round(_CAPITAL * style.size)
    pad = round(capital / 2)
    return _width(text, style) + 2 * pad, capital + 2 * pad, pad


def _draw_header(sheet: Image, cells: Sequence[Cell]) -> None:
    """How many photos and how they ended, at the top left; beside it the models, without which no score means much."""
    ends = Counter(cell.result.status for cell in cells)
    counts = f"{ends[Status.SCORED]} scored, {ends[Status.NO_FACE]} without a face, {ends[Status.FAILED]} failed"
    models = sorted({f"{cell.result.detector} + {cell.result.quality_model}" for cell in cells})
    _write(sheet, f"{len(cells)} photo{'' if len(cells) == 1 else 's'}", (_MARGIN, _MARGIN + 18), _TITLE)
    _write(sheet, counts, (_MARGIN, _MARGIN + 44), _NOTE)
    _write(sheet, ", ".join(models), (_MARGIN + 2 * (_THUMB + _GAP), _MARGIN + 44), _NOTE)


def _draw_legend(sheet: Image, scale: _Scale) -> None:
    """The colors, at the top right, over the last column."""
    right = sheet.shape[1] - _MARGIN
    left = right - _THUMB
    for x, quality in enumerate(np.linspace(scale.low, scale.high, _THUMB), start=left):
        sheet[_MARGIN + 8 : _MARGIN + 18, x] = scale.color(quality)
    _write(sheet, f"{scale.low:.3f}", (left, _MARGIN + 44), _NOTE)
    _write(sheet, "quality", (left + (_THUMB - _width("quality", _NOTE)) // 2, _MARGIN + 44), _NOTE)
    _write_right(sheet, f"{scale.high:.3f}", (right, _MARGIN + 44), _NOTE)


def _thumbnail(cell: Cell, scale: _Scale) -> Image:
    """The photo on a square mat, with its faces marked."""
    mat = np.full((_THUMB, _THUMB, 3), _MAT, np.uint8)
    if cell.image is None:
        _write(mat, "no picture", ((_THUMB - _width("no picture", _NOTE)) // 2, _THUMB // 2 + 5), _NOTE)
        return mat
    height, width = cell.image.shape[:2]
    shrink = _THUMB / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = np.asarray(cv2.resize(cell.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for face in cell.result.faces:
        _draw_marks(small, face, scale.color(face.quality), shrink)
    x, y = (_THUMB - size[0]) // 2, (_THUMB - size[1]) // 2
    mat[y : y + size[1], x : x + size[0]] = small
    return mat


def _draw_caption(caption: Image, cell: Cell, scale: _Scale) -> None:
    """A line in the quality's color, then the name and how the photo ended, then its size."""
    result = cell.result
    width = caption.shape[1]
    if result.faces:
        quality = result.faces[0].quality
        caption[:5] = scale.color(quality)
        ending, style = f"{quality:.3f}", _QUALITY
    elif result.error is not None:
        ending, style = result.error.code.value, _ERROR
    else:
        ending, style = "no face", _NO_FACE
    _write_right(caption, ending, (width, 26), style)
    _write(caption, _shortened(cell.name, width - _width(ending, style) - 10), (0, 26), _NAME)
    if result.image is not None:
        _write(caption, f"{result.image.width} x {result.image.height}", (0, 46), _DETAIL)
    if len(result.faces) > 1:
        _write_right(caption, f"largest of {len(result.faces)} faces", (width, 46), _DETAIL)


def _shortened(name: str, room: int) -> str:
    """The name, or as much of its beginning as fits."""
    if _width(name, _NAME) <= room:
        return name
    end = len(name)
    while end and _width(name[:end] + "...", _NAME) > room:
        end -= 1
    return name[:end] + "..."


def _width(text: str, style: _Style) -> int:
    return cv2.getTextSize(text, style.font, style.size, style.thickness)[0][0]


def _write(image: Image, text: str, start: tuple[int, int], style: _Style) -> None:
    """Write from `start`, the left end of the line that the letters stand on."""
    cv2.putText(image, text, start, style.font, style.size, style.color, style.thickness, cv2.LINE_AA)


def _write_right(image: Image, text: str, end: tuple[int, int], style: _Style) -> None:
    """Write up to `end`, the right end of the line that the letters stand on."""
    _write(image, text, (end[0] - _width(text, style), end[1]), style)
