"""The contact sheet of `fiqa demo`: all photos in a grid, with their faces, names and qualities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from fiqa.contract import ImageResult, Status
from fiqa.text import count
from fiqa_worker.annotate import BOLD, INK, WORST_TO_BEST, Color, Pixels, Style, draw_marks, text_width, write
from fiqa_worker.errors import ImageFailure
from fiqa_worker.pipeline.decode import decode

# BGR.
_GRAY: Final = (140, 132, 126)
_RED: Final = (48, 40, 196)
_PAGE: Final = (250, 251, 251)
_MAT: Final = (230, 233, 235)

# Pixels.
_COLUMNS: Final = 7
_THUMB: Final = 220
_CAPTION: Final = 52
_GAP: Final = 20
_MARGIN: Final = 36
_HEADER: Final = 76

_TITLE: Final = Style(0.85, INK, BOLD)
_NOTE: Final = Style(0.5, _GRAY)
_NAME: Final = Style(0.55, INK)
_QUALITY: Final = Style(0.55, INK, BOLD)
_NO_FACE: Final = Style(0.55, _GRAY)
_ERROR: Final = Style(0.55, _RED)
_DETAIL: Final = Style(0.42, _GRAY)


@dataclass(frozen=True)
class Cell:
    """One photo of a contact sheet.

    Attributes:
        name: printed under the photo. ASCII only: some builds of OpenCV cannot draw other characters.
        pixels: H x W x 3 uint8 BGR, as displayed. None if the photo could not be decoded.
        result: the photo's result.
    """

    name: str
    pixels: Pixels | None
    result: ImageResult


@dataclass(frozen=True)
class _Scale:
    """The lowest and the highest quality on a sheet."""

    low: float
    high: float

    def color(self, quality: float) -> Color:
        position = (quality - self.low) / (self.high - self.low) if self.high > self.low else 1.0
        stops = np.linspace(0, 1, len(WORST_TO_BEST))
        blue, green, red = (round(np.interp(position, stops, channel)) for channel in zip(*WORST_TO_BEST, strict=True))
        return blue, green, red


def contact_sheet_of(photos: Path, results: Sequence[ImageResult], *, max_pixels: int) -> bytes:
    """Return a JPEG file of all photos with their faces, in the order of the results.

    Args:
        photos: the folder of the photos.
        results: one result for each photo.
        max_pixels: size limit of a photo.
    """
    cells = []
    for result in results:
        name = Path(result.uri).name
        try:
            pixels = decode((photos / name).read_bytes(), max_pixels=max_pixels)
        except ImageFailure:
            pixels = None
        cells.append(Cell(name, pixels, result))
    _, encoded = cv2.imencode(".jpg", contact_sheet(cells))
    return encoded.tobytes()


def contact_sheet(cells: Sequence[Cell]) -> Pixels:
    """Lay out photos in a grid, in the given order, each with its name and its result.

    The number under a photo is the quality of its largest face. The colors range from the lowest quality on the sheet
    to the highest.

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


def _draw_header(sheet: Pixels, cells: Sequence[Cell]) -> None:
    """Write the counts at the top left, and the models next to them. Scores of different models are not comparable."""
    ends = Counter(cell.result.status for cell in cells)
    counts = f"{ends[Status.SCORED]} scored, {ends[Status.NO_FACE]} without a face, {ends[Status.FAILED]} failed"
    models = sorted({f"{cell.result.detector} + {cell.result.quality_model}" for cell in cells})
    write(sheet, count(len(cells), "photo"), (_MARGIN, _MARGIN + 18), _TITLE)
    write(sheet, counts, (_MARGIN, _MARGIN + 44), _NOTE)
    write(sheet, ", ".join(models), (_MARGIN + 2 * (_THUMB + _GAP), _MARGIN + 44), _NOTE)


def _draw_legend(sheet: Pixels, scale: _Scale) -> None:
    """Draw the range of colors at the top right, above the last column."""
    right = sheet.shape[1] - _MARGIN
    left = right - _THUMB
    for x, quality in enumerate(np.linspace(scale.low, scale.high, _THUMB), start=left):
        sheet[_MARGIN + 8 : _MARGIN + 18, x] = scale.color(quality)
    write(sheet, f"{scale.low:.3f}", (left, _MARGIN + 44), _NOTE)
    write(sheet, "quality", (left + (_THUMB - text_width("quality", _NOTE)) // 2, _MARGIN + 44), _NOTE)
    _write_right(sheet, f"{scale.high:.3f}", (right, _MARGIN + 44), _NOTE)


def _thumbnail(cell: Cell, scale: _Scale) -> Pixels:
    """Draw the photo with its marked faces on a square mat."""
    mat = np.full((_THUMB, _THUMB, 3), _MAT, np.uint8)
    if cell.pixels is None:
        write(mat, "no image", ((_THUMB - text_width("no image", _NOTE)) // 2, _THUMB // 2 + 5), _NOTE)
        return mat
    height, width = cell.pixels.shape[:2]
    shrink = _THUMB / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = np.asarray(cv2.resize(cell.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    for face in cell.result.faces:
        draw_marks(small, face, scale.color(face.quality), shrink)
    x, y = (_THUMB - size[0]) // 2, (_THUMB - size[1]) // 2
    mat[y : y + size[1], x : x + size[0]] = small
    return mat


def _draw_caption(caption: Pixels, cell: Cell, scale: _Scale) -> None:
    """Draw a line in the color of the quality. Below it, write the name and the result, then the size."""
    result = cell.result
    width = caption.shape[1]
    if result.faces:
        quality = result.faces[0].quality
        caption[:5] = scale.color(quality)
        outcome, style = f"{quality:.3f}", _QUALITY
    elif result.error is not None:
        outcome, style = result.error.code.value, _ERROR
    else:
        outcome, style = "no face", _NO_FACE
    _write_right(caption, outcome, (width, 26), style)
    write(caption, _shortened(cell.name, width - text_width(outcome, style) - 10), (0, 26), _NAME)
    if result.image is not None:
        write(caption, f"{result.image.width} x {result.image.height}", (0, 46), _DETAIL)
    if len(result.faces) > 1:
        _write_right(caption, f"largest of {count(len(result.faces), 'face')}", (width, 46), _DETAIL)


def _shortened(name: str, room: int) -> str:
    """Return the name, or as much of its beginning as fits."""
    if text_width(name, _NAME) <= room:
        return name
    end = len(name)
    while end and text_width(name[:end] + "...", _NAME) > room:
        end -= 1
    return name[:end] + "..."


def _write_right(pixels: Pixels, text: str, end: tuple[int, int], style: Style) -> None:
    """Write text up to `end`, the right end of its baseline."""
    write(pixels, text, (end[0] - text_width(text, style), end[1]), style)
