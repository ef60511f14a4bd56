"""One item on its way through the pipeline, and its result."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import NO_OPTIONS, ErrorCode, Face, ImageError, ImageResult, ImageSize, Item, JobOptions, Status
from fiqa_worker.errors import ImageFailure
from fiqa_worker.pipeline.align import CROP_SIZE
from fiqa_worker.pipeline.decode import DecodedImage
from fiqa_worker.pipeline.detect import NO_FACES, Detections
from fiqa_worker.pipeline.file_bytes import FileBytes

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
    found: Detections = NO_FACES
    left_out: int = 0
    crops: NDArray[np.uint8] = field(default_factory=_no_crops)
    faces: tuple[Face, ...] = ()
    failure: ImageError | None = None
    ms: float = 0.0

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
            faces_left_out=0 if self.failure else self.left_out,
            not_applied=() if self.failure else self.options.unknown,
            error=self.failure,
            detector=detector_name,
            quality_model=quality_model_name,
            ms=round(self.ms, 3),
        )

    @property
    def _name_in_log(self) -> str:
        # The query may hold a signature, and people who read the log may not be allowed to read the image.
        return self.item.uri.partition("?")[0]
