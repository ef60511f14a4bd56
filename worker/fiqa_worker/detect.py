"""Faces in an image, with YuNet or a detector of its interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.sessions import Session

_STRIDES: Final = (8, 16, 32)
_MULTIPLE: Final = 32  # the sides of what the network takes
_LANDMARKS: Final = 5


@dataclass(frozen=True, slots=True)
class Detections:
    """The N faces of an image, in its pixels, sorted by box area, largest first.

    Attributes:
        boxes: N x 4 float32: x, y, width, height; may reach out of the image.
        landmarks: N x 5 x 2 float32: right eye, left eye, nose tip, right and left mouth corner, as the subject's own.
        confidences: N float32, 0 to 1.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    confidences: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.confidences)


class Detector:
    """Finds faces. One at a time: it reuses the memory of its input.

    Args:
        session: a prepared detector.
        threshold: least confidence of a face.
        size: long side in pixels of the copy that detection looks at; a smaller image is taken as it is.
        nms_iou: of two faces that overlap by more than this, the less confident one is dropped.
        top_k: that many of the most confident candidates are looked at.
    """

    def __init__(
        self, session: Session, *, threshold: float, size: int = 640, nms_iou: float = 0.3, top_k: int = 5000
    ) -> None:
        self._session = session
        self._threshold = threshold
        self._size = size
        self._nms_iou = nms_iou
        self._top_k = top_k
        self._blob = np.zeros((1, 3, 0, 0), np.float32)
        self._filled = (0, 0)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of an image.

        Args:
            image: H x W x 3, BGR.
        """
        small = _scaled_down(image, self._size)
        blob = self._fill(small)
        outputs = dict(zip(self._session.output_names, self._session.run(blob), strict=True))
        faces = self._suppress(self._decode(outputs, blob.shape[3]))
        faces = faces[np.argsort(-faces[:, 2] * faces[:, 3], kind="stable")]
        height, width = image.shape[:2]
        back = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
        points = faces[:, :14].reshape(-1, 2 + _LANDMARKS, 2) * back
        return Detections(
            boxes=np.ascontiguousarray(points[:, :2].reshape(-1, 4)),
            landmarks=np.ascontiguousarray(points[:, 2:]),
            confidences=np.ascontiguousarray(faces[:, 14]),
        )

    def _fill(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Lay the image into the top left of the network's input, 1 x 3 x H x W; the rest is black."""
        height, width = image.shape[:2]
        padded = tuple(-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width))
        if self._blob.shape[2:] != padded:
            self._blob = np.zeros((1, 3, *padded), np.float32)
        elif self._filled != (height, width):
            self._blob.fill(0)
        self._filled = (height, width)
        for channel in range(3):
            self._blob[0, channel, :height, :width] = cv2.extractChannel(image, channel)
        return self._blob

    def _decode(self, outputs: dict[str, NDArray[np.float32]], width: int) -> NDArray[np.float32]:
        """Read the anchors above the threshold: N x 15: box, landmarks, confidence, in the network's pixels."""
        found = []
        for stride in _STRIDES:
            cls, obj = outputs[f"cls_{stride}"][0, :, 0], outputs[f"obj_{stride}"][0, :, 0]
            confidences = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
            (anchors,) = np.nonzero(confidences >= self._threshold)
            rows, columns = np.divmod(anchors, width // stride)
            origins = np.column_stack([columns, rows]).astype(np.float32)
            shifts, scales = np.hsplit(outputs[f"bbox_{stride}"][0, anchors], 2)
            sides = np.exp(scales) * stride
            corners = (origins + shifts) * stride - sides / 2
            points = outputs[f"kps_{stride}"][0, anchors].reshape(-1, _LANDMARKS, 2) + origins[:, np.newaxis]
            landmarks = (points * stride).reshape(-1, 2 * _LANDMARKS)
            found.append(np.hstack([corners, sides, landmarks, confidences[anchors, np.newaxis]]))
        return np.concatenate(found)

    def _suppress(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(faces) < 2:  # noqa: PLR2004  one face overlaps nothing
            return faces
        # cv2.FaceDetectorYN compares boxes of whole pixels, so that the same faces are kept here.
        boxes = np.trunc(faces[:, :4]).astype(np.float64).tolist()
        confidences = faces[:, 14].tolist()
        kept = cv2.dnn.NMSBoxes(boxes, confidences, self._threshold, self._nms_iou, top_k=self._top_k)
        return faces[np.asarray(kept, np.intp)]


def _scaled_down(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The image, or a copy whose long side is `size`."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return image
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, target, interpolation=cv2.INTER_LINEAR), np.uint8)
