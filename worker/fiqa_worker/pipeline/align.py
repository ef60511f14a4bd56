"""Aligns a face: from five landmarks to the 112x112 crop that quality models expect."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

CROP_SIZE: Final = 112

# The landmarks of an aligned face (ArcFace's template), in YuNet's order.
TEMPLATE: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.729904, 92.2041)], np.float32
)


def align(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Warp one face onto the 112x112 ArcFace template.

    Args:
        image: H x W x 3, BGR.
        landmarks: 5 x 2 pixels, in YuNet's order.

    Returns:
        112 x 112 x 3, BGR. Parts of the face outside of the image are black.
    """
    return warp(image, similarity(landmarks))


def similarity(landmarks: NDArray[np.float32]) -> MatLike:
    """Return the similarity from the image to the crop, a 2 x 3 matrix, for five landmarks in pixels of the image."""
    matrix = _robust(landmarks)
    return _least_squares(landmarks.astype(np.float64)) if matrix is None else matrix  # None: they nearly coincide


def warp(image: NDArray[np.uint8], matrix: MatLike) -> NDArray[np.uint8]:
    """Warp one face with its similarity; `align` describes image and result."""
    return np.asarray(cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE)), np.uint8)


def _robust(landmarks: NDArray[np.float32]) -> MatLike | None:
    """Compute the similarity transform of the reference: a 2 x 3 matrix, or None if OpenCV finds none."""
    return cv2.estimateAffinePartial2D(landmarks, TEMPLATE, method=cv2.LMEDS)[0]


def _least_squares(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the similarity transform that brings the landmarks closest to the template: a 2 x 3 matrix.

    If points are complex numbers, a similarity is z -> turn * z + shift, and least squares has a closed form.
    """
    source = landmarks[:, 0] + 1j * landmarks[:, 1]
    target = TEMPLATE[:, 0].astype(np.float64) + 1j * TEMPLATE[:, 1]
    centered = source - source.mean()
    spread = np.vdot(centered, centered).real
    turn = np.vdot(centered, target) / spread if spread > 0 else 1.0 + 0.0j  # all landmarks in one point
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
