"""Which results are written, and which of their faces: by status, by quality, or the best face only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fiqa.contract import ImageResult, Status


@dataclass(frozen=True, slots=True)
class Selection:
    """Which results, and which of their faces.

    `best` is applied first. With `best` and a range of quality, an image is selected if its best face is in the range.

    Attributes:
        status: only results with this status; None: all.
        best: only the face of the highest quality in each image.
        min_quality: only faces of at least this quality, and images with such a face.
        max_quality: only faces of at most this quality, and images with such a face.
    """

    status: Status | None = None
    best: bool = False
    min_quality: float | None = None
    max_quality: float | None = None

    @property
    def is_all(self) -> bool:
        return self == Selection()

    def of(self, result: ImageResult) -> ImageResult | None:
        """Return the selected part of one image's result; None if nothing of it is selected."""
        if self.status is not None and result.status is not self.status:
            return None
        faces = result.faces
        if self.best and faces:
            faces = (max(faces, key=lambda face: face.quality),)
        if self.min_quality is not None or self.max_quality is not None:
            faces = tuple(face for face in faces if self._is_within(face.quality))
            if not faces:
                return None
        return result if faces == result.faces else result.model_copy(update={"faces": faces})

    def results(self, lines: Iterable[bytes]) -> Iterator[ImageResult]:
        """Decode results from JSON lines, and yield the selected part of each.

        Raises:
            ContractError: a line is not a result.
        """
        for line in lines:
            result = self.of(ImageResult.decode(line))
            if result is not None:
                yield result

    def _is_within(self, quality: float) -> bool:
        above = self.min_quality is None or quality >= self.min_quality
        return above and (self.max_quality is None or quality <= self.max_quality)
