"""Draws the faces that were found on an image: box, landmarks and quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Face

Pixels: TypeAlias = NDArray[np.uint8]  # H x W x 3, BGR
Color: TypeAlias = tuple[int, int, int]  # BGR

# Orange, yellow, green: people with any kind of color vision can distinguish them.
WORST_TO_BEST: Final = ((40, 92, 230), (70, 204, 250), (140, 194, 44))
INK: Final = (44, 38, 34)
PLAIN: Final = cv2.FONT_HERSHEY_SIMPLEX
BOLD: Final = cv2.FONT_HERSHEY_DUPLEX

_CAPITAL: Final = 21  # height of a capital at size 1, in pixels
_SMALL_FACE: Final = 24  # width in pixels; landmarks and a dark edge would hide a smaller face


@dataclass(frozen=True)
class Style:
    """How text looks: its size in OpenCV's font scale, its color and its font."""

    size: float
    color: Color
    font: int = PLAIN

    @property
    def thickness(self) -> int:
        return max(1, round(0.7 * self.size))


def draw(pixels: Pixels, faces: Sequence[Face]) -> Pixels:
    """Draw the box, the landmarks and the quality of every face, all in one color.

    Args:
        pixels: H x W x 3 uint8 BGR. They are not changed.
        faces: faces in coordinates of these pixels.

    Returns:
        A copy of the pixels with the drawing.
    """
    drawn = pixels.copy()
    color = WORST_TO_BEST[1]
    for face in faces:
        draw_marks(drawn, face, color)
    for face in faces:  # after all boxes, so that no box crosses a number
        _draw_label(drawn, face, color)
    return drawn


def draw_marks(pixels: Pixels, face: Face, color: Color, scale: float = 1.0) -> None:
    """Draw a face's box and landmarks into the image. Their coordinates are multiplied by `scale`."""
    x, y, width, height = (value * scale for value in face.box)
    long_side = max(pixels.shape[:2])
    line = max(1, round(np.clip(0.015 * max(width, height), long_side / 800, long_side / 300)))
    corners = (round(x), round(y)), (round(x + width), round(y + height))
    if width < _SMALL_FACE:
        cv2.rectangle(pixels, *corners, color, line)
        return
    cv2.rectangle(pixels, *corners, INK, line + 2)  # a dark edge: the color stands out on any background
    cv2.rectangle(pixels, *corners, color, line)
    for across, down in face.landmarks:
        center = (round(across * scale), round(down * scale))
        cv2.circle(pixels, center, line + 1, INK, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(pixels, center, line, color, cv2.FILLED, cv2.LINE_AA)


def write(pixels: Pixels, text: str, start: tuple[int, int], style: Style) -> None:
    """Write text into the image from `start`, the left end of its baseline."""
    cv2.putText(pixels, text, start, style.font, style.size, style.color, style.thickness, cv2.LINE_AA)


def text_width(text: str, style: Style) -> int:
    return cv2.getTextSize(text, style.font, style.size, style.thickness)[0][0]


def _draw_label(pixels: Pixels, face: Face, color: Color) -> None:
    """Write the quality on a strip above the box, or over the box's edge if there is no room above."""
    image_height, image_width = pixels.shape[:2]
    long_side = max(image_height, image_width)
    text = f"{face.quality:.3f}"
    capital = max(10, np.clip(0.12 * face.box[3], long_side / 80, long_side / 40))
    style = Style(capital / _CAPITAL, INK, BOLD)
    width, height, pad = _strip(text, style)
    if width > image_width or height > image_height:
        style = Style(style.size * min(image_width / width, image_height / height), INK, BOLD)
        width, height, pad = _strip(text, style)
    left = round(max(0, min(face.box[0], image_width - width)))
    top = round(max(0, min(face.box[1] - height, image_height - height)))
    cv2.rectangle(pixels, (left, top), (left + width - 1, top + height - 1), color, cv2.FILLED)
    write(pixels, text, (left + pad, top + height - pad), style)


def _strip(text: str, style: Style) -> tuple[int, int, int]:
    """Return the width and height of the strip behind the text, and the margin inside it."""
    capital = round(_CAPITAL * style.size)
    pad = round(capital / 2)
    return text_width(text, style) + 2 * pad, capital + 2 * pad, pad
