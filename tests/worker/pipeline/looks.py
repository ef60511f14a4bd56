"""An image with alpha that looks different in each orientation, and a check that a file looks like it."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.errors import UnsupportedFormat
from fiqa_worker.pipeline.decode import decode
from tests.worker.pipeline.images import gradient

COLOR: Final = gradient(48, 66)[..., ::-1].copy()


COLOR[:12, :20] = (250, 30, 20)


GRAY: Final = np.asarray(cv2.cvtColor(COLOR, cv2.COLOR_RGB2GRAY), np.uint8)


ALPHA: Final = np.full(GRAY.shape, 255, np.uint8)


ALPHA[30:, 40:] = 128


ALPHA[:6, 50:] = 0


COLOR_ALPHA: Final = np.dstack([COLOR, ALPHA])


GRAY_ALPHA: Final = np.dstack([GRAY, ALPHA])


def over_white(color: NDArray[np.uint8], alpha: NDArray[np.uint8] = ALPHA) -> NDArray[np.float64]:
    share = alpha[..., np.newaxis] / 255.0
    return color * share + 255 * (1 - share)


LOSSY: Final = -1


def assert_shows(data: bytes, expected: NDArray[Any], tolerance: float = 1) -> None:
    """Assert that a file looks like this: in every pixel or, if it is lossy, on average."""
    stored = 66 * 64 if b"hvcC" in data else GRAY.size  # libheif allocates memory for at least 64 rows
    image = decode(data, max_pixels=stored)[..., ::-1]
    assert image.shape == expected.shape
    differences = np.abs(image - expected.astype(float))
    if tolerance == LOSSY:
        assert differences.mean() < 5
    else:
        assert differences.max() <= tolerance + 0.5


def gray(image: NDArray[np.uint8] = GRAY) -> NDArray[np.uint8]:
    return np.dstack([image] * 3)


def sixteen(image: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return image.astype(np.uint16) * 257


def refused(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedFormat, match=words):
        decode(data, max_pixels=1_000_000)
