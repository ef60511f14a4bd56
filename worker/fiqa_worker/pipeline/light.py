"""Measures the pixels of a face: luminance, the light on the cheeks, color, and sharpness.

OFIQ aligns a face to a frame of 616 x 616 pixels, and measures the hull of 98 landmarks. This module measures an oval
in the crop of the quality model, which is a part of that frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from fiqa_worker.pipeline.align import CROP_SIZE


def _linear(level: float) -> float:
    """Linearize a channel of sRGB, 0 to 1."""
    return ((level + 0.055) / 1.055) ** 2.4 if level > 0.04045 else level / 12.92  # noqa: PLR2004  sRGB


# The oval of the face in the crop: from above the brows to the lower edge, and as wide as the face at the cheekbones.
_OVAL: Final = np.asarray(
    cv2.ellipse(np.zeros((CROP_SIZE, CROP_SIZE), np.uint8), (56, 76), (37, 42), 0, 0, 360, 255, cv2.FILLED), np.uint8
)
_AROUND_OVAL: Final = np.s_[33:, 18:95]  # a pixel more, for the Laplacian; less than half of the crop
# Only every other row is read: the luminance of a crop changes slowly, so half of the pixels have the same histogram.
_ROWS: Final = np.s_[::2]

# The map from the crop to OFIQ's frame. It maps the five points of the template to OFIQ's, within 0.42 pixels.
_OFIQ_SCALE: Final = 3.1966
_OFIQ_SHIFT: Final = complex(129.1, 106.8)
# The upper left corners of the cheek zones in OFIQ's frame, and the length of their sides: 0.3 of the distance between
# the eyes. The overlap of two histograms depends on the number of pixels, so the zones are warped at this size.
_CHEEKS: Final = (complex(218, 337), complex(364, 337))
_CHEEK_SIZE: Final = 33

_LEVELS: Final = np.arange(256) / 255
# A table for each channel, B, G, R: its part of the luminance, 0 to 255.
_LUMINANCE: Final = np.array(
    [[(0.0722 * 255 * y, 0.7152 * 255 * y, 0.2126 * 255 * y) for y in map(_linear, _LEVELS)]], np.float32
)
_SUM: Final = np.ones((1, 3), np.float32)
# From a histogram of luminance to its mean, its mean square, and the shares of 0 to 25 and of 247 to 255.
_STATISTICS: Final = np.stack([_LEVELS, _LEVELS**2, np.arange(256) <= 25, np.arange(256) >= 247]).astype(np.float32)  # noqa: PLR2004  OFIQ's limits

_FAR: Final = 100.0  # the distance that OFIQ gives to a color with a negative a* or b*


def light(image: NDArray[np.uint8], crop: NDArray[np.uint8], matrix: MatLike) -> Iterator[tuple[str, float]]:
    """Measure the pixels of a face. What lies outside of the image does not count.

    Args:
        image: H x W x 3, BGR.
        crop: 112 x 112 x 3, BGR: the aligned face.
        matrix: 2 x 3, the similarity from the image to the crop.

    Yields:
        The name of each measure, and its native value. Measures whose pixels lie outside of the image are missing.
    """
    turn = complex(matrix[0, 0], matrix[1, 0])
    shift = complex(matrix[0, 2], matrix[1, 2])
    if not turn:  # all landmarks in one point
        return
    is_whole = _is_inside(image, turn, shift, CROP_SIZE)
    mask = (_OVAL if is_whole else _seen(image, matrix))[_AROUND_OVAL]
    if is_whole or mask[_ROWS].any():
        face = crop[_AROUND_OVAL]
        yield "laplacian_variance", _laplacian_variance(face, mask)
        yield from _luminance(face[_ROWS], mask[_ROWS])
    zones = [(_OFIQ_SCALE * turn, _OFIQ_SCALE * shift + _OFIQ_SHIFT - corner) for corner in _CHEEKS]
    if is_whole or all(_is_inside(image, *zone, _CHEEK_SIZE) for zone in zones):
        yield from _cheeks(image, zones)


def _is_inside(image: NDArray[np.uint8], turn: complex, shift: complex, side: int) -> bool:
    """Return whether a square lies in the image. z -> turn * z + shift maps the image to the square at the origin."""
    height, width = image.shape[:2]
    points = [(complex(x, y) - shift) / turn for x in (0, side - 1) for y in (0, side - 1)]
    return all(0 <= point.real <= width - 1 and 0 <= point.imag <= height - 1 for point in points)


def _seen(image: NDArray[np.uint8], matrix: MatLike) -> NDArray[np.uint8]:
    """Return a mask of the crop: 255 in the part of the oval that comes from the image, 0 elsewhere."""
    right, bottom = image.shape[1] - 1, image.shape[0] - 1
    corners = np.array([(0, 0), (right, 0), (right, bottom), (0, bottom)]) @ matrix[:, :2].T + matrix[:, 2]
    seen = np.zeros_like(_OVAL)
    # Landmarks that nearly coincide enlarge the image more than 32 bits can hold.
    cv2.fillConvexPoly(seen, np.rint(np.clip(corners, -1e6, 1e6)).astype(np.int32), 255)
    # The edge to the black outside is not a detail of the face.
    return np.asarray(cv2.bitwise_and(cv2.erode(seen, np.ones((5, 5), np.uint8)), _OVAL), np.uint8)


def _laplacian_variance(face: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    laplacian = cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.CV_16S)
    return float(cv2.meanStdDev(laplacian, mask=mask)[1][0, 0]) ** 2


def _luminance(face: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Iterator[tuple[str, float]]:
    counts = cv2.calcHist([_luminance_of(face)], [0], mask, [256], [0, 256]).ravel()
    shares = counts / counts.sum()
    mean, mean_square, dark, bright = (_STATISTICS @ shares).tolist()
    there = shares[shares > 0]
    yield "LuminanceMean", mean
    yield "LuminanceVariance", max(0.0, mean_square - mean**2)
    yield "UnderExposurePrevention", dark
    yield "OverExposurePrevention", bright
    yield "DynamicRange", max(0.0, -float(there @ np.log2(there)))


def _luminance_of(pixels: NDArray[np.uint8]) -> MatLike:
    """Return the luminance of linearized sRGB, 0 to 255, H x W."""
    return cv2.convertScaleAbs(cv2.transform(cv2.LUT(pixels, _LUMINANCE), _SUM))


def _cheeks(image: NDArray[np.uint8], zones: Sequence[tuple[complex, complex]]) -> Iterator[tuple[str, float]]:
    """Compare the cheeks with each other and with skin.

    A zone is the part of the image that z -> turn * z + shift maps to 33 x 33 pixels.
    """
    cheeks = np.empty((2, _CHEEK_SIZE, _CHEEK_SIZE, 3), np.uint8)
    for cheek, (turn, shift) in zip(cheeks, zones, strict=True):
        matrix = np.array([(turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)])
        cv2.warpAffine(image, matrix, (_CHEEK_SIZE, _CHEEK_SIZE), cheek)
    both = cheeks.reshape(2 * _CHEEK_SIZE, _CHEEK_SIZE, 3)
    luminance = _luminance_of(both)
    right, left = (
        cv2.calcHist([half], [0], None, [256], [0, 256]) for half in (luminance[:_CHEEK_SIZE], luminance[_CHEEK_SIZE:])
    )
    yield "IlluminationUniformity", float(cv2.min(right, left).sum()) / _CHEEK_SIZE**2
    yield "NaturalColour", _distance_from_skin(*cv2.mean(both)[:3])


def _distance_from_skin(blue: float, green: float, red: float) -> float:
    """Return the distance of a color, 0 to 255, from skin: a* from 5 to 25, b* from 5 to 35, in CIELAB of white D50."""
    blue, green, red = _linear(blue / 255), _linear(green / 255), _linear(red / 255)
    x = _root((0.43605 * red + 0.38508 * green + 0.14309 * blue) / 0.964221)
    y = _root(0.22249 * red + 0.71689 * green + 0.06062 * blue)
    z = _root((0.01393 * red + 0.09710 * green + 0.71419 * blue) / 0.825211)
    a, b = 500 * (x - y), 200 * (y - z)
    if a < 0 or b < 0:
        return _FAR
    return math.hypot(max(0.0, 5 - a, a - 25), max(0.0, 5 - b, b - 35))


def _root(x: float) -> float:
    """Return CIELAB's function of a ratio to white: the cube root, and a line near black."""
    return math.cbrt(x) if x > 216 / 24389 else (24389 / 27 * x + 16) / 116
