"""Finds faces in an image, with YuNet or a detector of the same interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.models.sessions import Session

_STRIDES: Final = (8, 16, 32)
MULTIPLE: Final = 32  # the sides of the network's input are multiples of it
_LANDMARKS: Final = 5


@dataclass(frozen=True, slots=True)
class Detections:
    """The N faces of an image, sorted by box area, largest first. Coordinates are in pixels of the image.

    Attributes:
        boxes: N x 4 float32: x, y, width, height; they may extend beyond the image.
        landmarks: N x 5 x 2 float32: right eye, left eye, nose tip, right and left mouth corner, as the subject's own.
        confidences: N float32, 0 to 1.
        turned: N int16: how far each face is turned clockwise: 0, 90, 180 or 270 degrees.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    confidences: NDArray[np.float32]
    turned: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.confidences)

    def __getitem__(self, faces: slice | list[int] | NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
        """Return some of the faces, in the order of `faces`."""
        return Detections(self.boxes[faces], self.landmarks[faces], self.confidences[faces], self.turned[faces])

    def scaled(self, factors: tuple[float, float]) -> Detections:
        """Return the same faces, for an image whose width and height are so many times as large."""
        size = np.array(factors, np.float32)
        return Detections(self.boxes * np.tile(size, 2), self.landmarks * size, self.confidences, self.turned)

    def joined(self, *others: Detections) -> Detections:
        """Return these faces and those of the others, one after the other."""
        every = (self, *others)
        return Detections(
            np.concatenate([found.boxes for found in every]),
            np.concatenate([found.landmarks for found in every]),
            np.concatenate([found.confidences for found in every]),
            np.concatenate([found.turned for found in every]),
        )

    def surest_first(self) -> Detections:
        """Return the same faces, sorted by confidence."""
        return self[np.argsort(-self.confidences, kind="stable")]

    def largest(self, *, min_px: int | None, most: int | None) -> Detections:
        """Return the largest faces: at most `most`, whose boxes have a longer side of at least `min_px` pixels."""
        if min_px is None and most is None:
            return self
        kept = np.flatnonzero(self.boxes[:, 2:].max(axis=1) >= (min_px or 0))[:most]
        return self[kept]


NO_FACES: Final = Detections(
    np.empty((0, 4), np.float32),
    np.empty((0, _LANDMARKS, 2), np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.int16),
)


class Detector:
    """Finds faces. One thread at a time may use it, since it reuses the memory of its input.

    Args:
        session: a prepared detector.
        threshold: the least confidence of a face.
        size: the long side in pixels of the copy that detection uses; a smaller image is used as it is.
        nms_iou: if two faces overlap by more than this, the less confident one is dropped.
        top_k: only this many candidates are compared, the most confident ones.
    """

    def __init__(
        self, session: Session, *, threshold: float, size: int = 640, nms_iou: float = 0.3, top_k: int = 5000
    ) -> None:
        self._session = session
        self._threshold = threshold
        self._candidate = threshold * threshold * 0.999
        self.size = size
        self._nms_iou = nms_iou
        self._top_k = top_k
        self._blob = np.zeros((0, 3, 0, 0), np.float32)
        self._filled: list[tuple[int, int]] = []
        self._planes = np.empty((3, 0, 0), np.uint8)

    def with_settings(self, *, threshold: float, size: int) -> Detector:
        """Return a detector with the same model and other settings."""
        return Detector(self._session, threshold=threshold, size=size)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of an image.

        Args:
            image: H x W x 3, BGR.
        """
        return self.detect_all([image])[0]

    def detect_all(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of each image, in batches that suit the device.

        Args:
            images: each H x W x 3, BGR.
        """
        copies = [scaled_down(image, self.size) for image in images]
        # Only images of the same padded size share a batch. So each image has the same faces as if it were alone.
        alike: dict[tuple[int, int], list[int]] = {}
        for index, copy in enumerate(copies):
            alike.setdefault((_padded(copy.shape[0]), _padded(copy.shape[1])), []).append(index)
        found: dict[int, Detections] = {}
        size = self._session.batch_size
        for shape, indices in alike.items():
            for start in range(0, len(indices), size):
                batch = indices[start : start + size]
                rows = self._detect_batch([copies[index] for index in batch], shape)
                found |= {
                    index: _in_pixels_of(images[index], copies[index], faces)
                    for index, faces in zip(batch, rows, strict=True)
                }
        return [found[index] for index in range(len(images))]

    def _detect_batch(
        self, images: Sequence[NDArray[np.uint8]], shape: tuple[int, int]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield each image's faces: N x 15, in the pixels of the image."""
        blob = self._fill(images, shape)
        outputs = dict(zip(self._session.output_names, self._session.run(blob), strict=True))
        for index in range(len(images)):
            yield self._suppress(self._decode(outputs, index, shape[1]))

    def _fill(self, images: Sequence[NDArray[np.uint8]], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Copy each image into the top left of its part of the network's input, N x 3 x H x W; the rest is black."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        if self._blob.shape != (len(images), 3, *shape):
            self._blob = np.zeros((len(images), 3, *shape), np.float32)
        elif self._filled != sizes:
            self._blob.fill(0)
        self._filled = sizes
        for place, image, (rows, columns) in zip(self._blob, images, sizes, strict=True):
            if self._planes.shape[1:] != (rows, columns):
                self._planes = np.empty((3, rows, columns), np.uint8)
            cv2.split(image, list(self._planes))
            place[:, :rows, :columns] = self._planes
        return self._blob

    def _decode(self, outputs: dict[str, NDArray[np.float32]], index: int, width: int) -> NDArray[np.float32]:
        """Read one image's anchors above the threshold.

        Returns:
            N x 15: box, landmarks, confidence, in pixels of the network's input.
        """
        found = [np.empty((0, 5 + 2 * _LANDMARKS), np.float32)]
        for stride in _STRIDES:
            cls, obj = outputs[f"cls_{stride}"][index, :, 0], outputs[f"obj_{stride}"][index, :, 0]
            # Only few anchors need the work below. This limit is lower than the threshold, since rounding may lift an
            # anchor over the threshold.
            anchors = np.flatnonzero(cls * obj > self._candidate)
            if not len(anchors):
                continue
            confidences = np.sqrt(np.clip(cls[anchors], 0, 1) * np.clip(obj[anchors], 0, 1))
            above = confidences >= self._threshold
            anchors, confidences = anchors[above], confidences[above]
            faces = np.empty((len(anchors), 5 + 2 * _LANDMARKS), np.float32)
            origins = np.stack(np.divmod(anchors, width // stride)[::-1], axis=1).astype(np.float32)
            boxes = outputs[f"bbox_{stride}"][index, anchors]
            sides = np.exp(boxes[:, 2:]) * stride
            faces[:, :2] = (origins + boxes[:, :2]) * stride - sides / 2
            faces[:, 2:4] = sides
            points = outputs[f"kps_{stride}"][index, anchors].reshape(-1, _LANDMARKS, 2) + origins[:, np.newaxis]
            faces[:, 4:14] = (points * stride).reshape(-1, 2 * _LANDMARKS)
            faces[:, 14] = confidences
            found.append(faces)
        return np.concatenate(found)

    def _suppress(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(faces) < 2:  # noqa: PLR2004  one face overlaps nothing
            return faces
        # cv2.FaceDetectorYN compares boxes of whole pixels. The same is done here, so that the same faces are kept.
        boxes = np.trunc(faces[:, :4]).astype(np.float64).tolist()
        confidences = faces[:, 14].tolist()
        kept = cv2.dnn.NMSBoxes(boxes, confidences, self._threshold, self._nms_iou, top_k=self._top_k)
        return faces[np.asarray(kept, np.intp)]


def _in_pixels_of(image: NDArray[np.uint8], copy: NDArray[np.uint8], faces: NDArray[np.float32]) -> Detections:
    faces = faces[np.argsort(-faces[:, 2] * faces[:, 3], kind="stable")]
    back = np.array([image.shape[1] / copy.shape[1], image.shape[0] / copy.shape[0]], np.float32)
    points = faces[:, :14].reshape(-1, 2 + _LANDMARKS, 2) * back
    return Detections(
        boxes=np.ascontiguousarray(points[:, :2].reshape(-1, 4)),
        landmarks=np.ascontiguousarray(points[:, 2:]),
        confidences=np.ascontiguousarray(faces[:, 14]),
        turned=np.zeros(len(faces), np.int16),
    )


def _padded(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE


def scaled_down(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the image. If its long side is larger than `size`, return a copy that is scaled down to it."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return image
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, target, interpolation=cv2.INTER_LINEAR), np.uint8)
