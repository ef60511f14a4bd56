"""The portrait with its landmarks, changed in known ways, and points of a face that are turned in space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.pipeline.align import similarity, warp
from fiqa_worker.pipeline.head_pose import FACE_POINTS
from fiqa_worker.pipeline.measures import Measures, measure
from tests.worker.pipeline.images import portrait


@dataclass(frozen=True)
class FaceImage:
    """A face in an image: H x W x 3 BGR pixels, its box and its landmarks."""

    pixels: NDArray[np.uint8]
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def exposed(self, factor: float) -> Self:
        """The same with all values times `factor`."""
        return replace(self, pixels=np.clip(self.pixels * float(factor), 0, 255).astype(np.uint8))

    def blurred(self, sigma: float) -> Self:
        pixels = cv2.GaussianBlur(self.pixels, (0, 0), sigma) if sigma else self.pixels
        return replace(self, pixels=np.asarray(pixels, np.uint8))

    def lit_from_the_side(self, loss: float) -> Self:
        """The same, with less light to the right of the nose."""
        right = np.arange(self.size[0])[np.newaxis, :, np.newaxis] > self.landmarks[2, 0]
        return replace(self, pixels=np.asarray(np.where(right, self.pixels * (1 - loss), self.pixels), np.uint8))

    def cropped(self, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Self:
        """The same without so many columns and rows at the edges."""
        width, height = self.size
        return replace(
            self,
            pixels=self.pixels[top : height - bottom, left : width - right].copy(),
            box=(self.box - (left, top, 0, 0)).astype(np.float32),
            landmarks=(self.landmarks - (left, top)).astype(np.float32),
        )

    def scaled(self, factor: float) -> Self:
        width, height = (round(side * factor) for side in self.size)
        pixels = cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA)
        landmarks = (self.landmarks + 0.5) * factor - 0.5
        return replace(self, pixels=np.asarray(pixels, np.uint8), box=self.box * factor, landmarks=landmarks)

    def rolled(self, degrees: float) -> Self:
        """The same, the head leaning to the subject's own right shoulder: to the left in the image."""
        matrix = cv2.getRotationMatrix2D(tuple(map(float, self.landmarks.mean(axis=0))), degrees, 1)
        pixels = cv2.warpAffine(self.pixels, matrix, self.size, borderMode=cv2.BORDER_REFLECT_101)
        landmarks = self.landmarks @ matrix[:, :2].T + matrix[:, 2]
        return replace(self, pixels=np.asarray(pixels, np.uint8), landmarks=landmarks.astype(np.float32))

    def measured(self, other_area: float = 0.0) -> Measures:
        width, height = self.size
        matrix = similarity(self.landmarks)
        return measure(
            self.box,
            self.landmarks,
            width=width,
            height=height,
            other_area=other_area,
            pixels=self.pixels,
            crop=warp(self.pixels, matrix),
            matrix=matrix,
        )


def portrait_face() -> FaceImage:
    """The package's portrait, with the landmarks that the built-in detector finds."""
    landmarks = [(202.91, 102.29), (246.05, 102.99), (224.69, 126.16), (205.02, 144.56), (241.38, 145.25)]
    return FaceImage(portrait(), np.array([177.05, 62.23, 92.02, 115.25], np.float32), np.array(landmarks, np.float32))


def turned_points(yaw: float, pitch: float, roll: float) -> NDArray[np.float32]:
    """The mean face, turned in space by so many degrees and seen from far away: 5 x 2 pixels."""
    y, p, r = np.radians([yaw, pitch, roll])
    turns = (
        [[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]],
        [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]],
        [[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]],
    )
    points = FACE_POINTS @ np.linalg.multi_dot([np.array(turn) for turn in turns]).T
    return np.asarray(2 * points[:, :2] + 300, np.float32)
