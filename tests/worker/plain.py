"""Plain images and faces, for tests of drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Face

GRAY = 128


def gray_pixels(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GRAY, np.uint8)


def face(x: float, y: float, width: float, height: float, quality: float = 0.5) -> Face:
    return Face(
        box=(x, y, width, height),
        confidence=0.9,
        landmarks=(
            (x + 0.3 * width, y + 0.4 * height),
            (x + 0.7 * width, y + 0.4 * height),
            (x + 0.5 * width, y + 0.6 * height),
            (x + 0.3 * width, y + 0.8 * height),
            (x + 0.7 * width, y + 0.8 * height),
        ),
        quality=quality,
    )
