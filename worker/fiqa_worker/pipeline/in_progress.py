"""One item on its way through the pipeline, and its result."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from fiqa.contract import (
    NO_OPTIONS,
    ErrorCode,
    Face,
    ImageError,
    ImageResult,
    ImageSize,
    Item,
    JobOptions,
    Reason,
    Status,
)
from fiqa_worker.errors import ImageFailure
from fiqa_worker.pipeline.align import CROP_SIZE
from fiqa_worker.pipeline.decode import DecodedImage
from fiqa_worker.pipeline.detect import NO_FACES, Detections
from fiqa_worker.pipeline.file_bytes import FileBytes
from fiqa_worker.pipeline.measures import Measures, measure
from fiqa_worker.pipeline.reasons import reasons
from fiqa_worker.pipeline.watch import Stage

_log = logging.getLogger(__name__)


def _no_crops() -> NDArray[np.uint8]:
    return np.empty((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)


@dataclass(slots=True)
class InProgress:
    """An item on its way to a result.

    It gets its file, then its pixels, then its faces, or the reason of its failure.
    """

    index: int
    item: Item
    options: JobOptions = NO_OPTIONS
    data: FileBytes = b""
    decoded: DecodedImage | None = None
    every: Detections = NO_FACES
    found: Detections = NO_FACES
    crops: NDArray[np.uint8] = field(default_factory=_no_crops)
    measured: list[tuple[Measures, tuple[Reason, ...]]] | None = None
    faces: tuple[Face, ...] = ()
    failure: ImageError | None = None
    ms: float = 0.0
    seconds: dict[Stage, float] = field(default_factory=dict)

    def find(self, every: Detections) -> None:
        """Store the faces, in pixels of the whole image, and leave out faces that the job does not ask for."""
        self.every = every
        self.found = every.largest(min_px=self.options.min_face_px, most=self.options.max_faces)

    def measure(self, pixels: NDArray[np.uint8], matrices: Sequence[MatLike]) -> None:
        """Measure the faces, after their crops are made.

        Args:
            pixels: H x W x 3, BGR: the image, or the smaller copy from which the crops are made.
            matrices: for each face, the similarity from `pixels` to its crop.
        """
        if self.decoded is None:
            return
        width, height = self.decoded.width, self.decoded.height
        # The faces are sorted by area. So the largest other face is the first one. For the first one, it is the second
        # one.
        self.measured = []
        areas = [*(self.every.boxes[:2, 2] * self.every.boxes[:2, 3]).tolist(), 0.0]
        for box, landmarks, crop, matrix in zip(
            self.found.boxes, self.found.landmarks, self.crops, matrices, strict=True
        ):
            measured = measure(
                box,
                landmarks,
                width=width,
                height=height,
                other_area=areas[1] if box[2] * box[3] == areas[0] else areas[0],
                pixels=pixels,
                crop=crop,
                matrix=matrix,
            )
            self.measured.append((measured, reasons(measured, landmarks, width, height)))

    def score(self, qualities: Sequence[float]) -> None:
        """Make the faces.

        Numbers are rounded to significant decimals: pixels to 0.01, confidences and scores to 1e-6.
        """
        self.faces = tuple(
            Face(
                box=box,
                confidence=round(confidence, 6),
                landmarks=landmarks,
                quality=round(quality, 6),
                measures=measures,
                reasons=why,
                turned=turned or None,
            )
            for box, confidence, landmarks, turned, quality, (measures, why) in zip(
                self.found.boxes.astype(np.float64).round(2).tolist(),
                self.found.confidences.tolist(),
                self.found.landmarks.astype(np.float64).round(2).tolist(),
                self.found.turned.tolist(),
                qualities,
                repeat((None, None)) if self.measured is None else self.measured,
                strict=False,  # repeat has no end
            )
        )

    @property
    def bytes_held(self) -> int:
        return len(self.data) + (self.decoded.pixels.nbytes if self.decoded else 0)

    def fail(self, error: Exception) -> None:
        """Keep the reason why this image failed. An error that was not raised on purpose is logged."""
        if isinstance(error, ImageFailure):
            self.failure = ImageError(code=error.code, message=str(error))
            return
        _log.error("%s: internal error", self._name_in_log, exc_info=error)
        self.failure = ImageError(code=ErrorCode.INTERNAL_ERROR, message=f"{type(error).__name__}: {error}")

    def log_warnings(self) -> None:
        """Log the lines that the decoder printed."""
        for warning in self.decoded.warnings if self.decoded else ():
            _log.warning("%s: %s", self._name_in_log, warning)

    def result(self, detector_name: str, quality_model_name: str) -> ImageResult:
        """Make the result of an image that is finished."""
        decoded = self.decoded
        return ImageResult(
            uri=self.item.uri,
            id=self.item.id,
            version=self.item.version,
            status=Status.FAILED if self.failure else Status.SCORED if self.faces else Status.NO_FACE,
            image=ImageSize(width=decoded.width, height=decoded.height) if decoded else None,
            faces=() if self.failure else self.faces,
            faces_left_out=0 if self.failure else len(self.every) - len(self.found),
            not_applied=() if self.failure else self.options.unknown,
            error=self.failure,
            detector=detector_name,
            quality_model=quality_model_name,
            ms=math.ceil(10 * self.ms) / 10,  # 0 would mean that nothing ran
        )

    @property
    def _name_in_log(self) -> str:
        # The query may hold a signature, and people who read the log may not be allowed to read the image.
        return self.item.uri.partition("?")[0]
