"""Which results are written, and which of their faces: by status, quality, size or reason, or the best ones only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from fiqa.contract import Face, ImageResult, Reason, Status
from fiqa.errors import UsageError
from fiqa.results.choosing import best_per_id, extreme

_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which results, and which of their faces.

    The fields are applied in this order. So with `best` and a range of quality, an image is selected if its best face
    is in the range. The last three compare images by their first face: the largest one, or with `best` the best one.

    Attributes:
        status: only results with this status; None: all.
        min_face_px: only faces of at least this size, the longer side of their box in pixels, and images with such a
            face.
        best: only the face of the highest quality in each image.
        min_quality: only faces of at least this quality, and images with such a face.
        max_quality: only faces of at most this quality, and images with such a face.
        reason: only faces with this reason, and images with such a face. It needs a job with measures.
        best_per_id: only the best image of each caller's id. Images without an id or without a face are left out.
        top: only this many images, the best first.
        worst: only this many images, the worst first.

    Raises:
        UsageError: `top` or `worst` is less than 1, or both are given.
    """

    status: Status | None = None
    best: bool = False
    min_quality: float | None = None
    max_quality: float | None = None
    min_face_px: float | None = None
    reason: Reason | None = None
    best_per_id: bool = False
    top: int | None = None
    worst: int | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.worst is not None:
            raise UsageError("choose either the best images or the worst ones, not both")
        for name, number in (("top", self.top), ("worst", self.worst)):
            if number is not None and number < 1:
                raise UsageError(f"{name} is {number}: choose at least 1 image")

    @property
    def is_all(self) -> bool:
        return self == Selection()

    @property
    def compares(self) -> bool:
        """Whether all results must be read before the first one is selected."""
        return self != replace(self, best_per_id=False, top=None, worst=None)

    def of(self, result: ImageResult) -> ImageResult | None:
        """Return the selected part of one image's result; None if nothing of it is selected. It compares no images."""
        if self.status is not None and result.status is not self.status:
            return None
        faces = result.faces
        if self.min_face_px is not None:
            faces = tuple(face for face in faces if face.size_px >= self.min_face_px)
        if self.best and faces:
            faces = (max(faces, key=lambda face: face.quality),)
        faces = tuple(face for face in faces if self._selects(face))
        if not faces and (result.faces or self._needs_a_face):
            return None
        return result if faces == result.faces else result.model_copy(update={"faces": faces})

    def batches(self, shards: Iterable[list[bytes]]) -> Iterator[list[ImageResult]]:
        """Decode results from JSON lines, and yield the selected ones.

        If images are compared, all shards are read first. The memory is bounded: it grows with `top` or `worst` only.

        Args:
            shards: results as JSON lines, one list per shard.

        Yields:
            One list per shard. If images are compared: lists of the chosen ones.

        Raises:
            ContractError: a line is not a result.
            UsageError: images are compared that two quality models scored.
        """
        found = ([part for part in map(self.of, map(ImageResult.decode, lines)) if part] for lines in shards)
        if not self.compares:
            yield from found
            return
        chosen: Iterable[ImageResult] = chain.from_iterable(found)
        if self.best_per_id:
            chosen = best_per_id(chosen)
        if number := self.top or self.worst:
            chosen = extreme(chosen, number, worst=self.worst is not None)
        batch: list[ImageResult] = []
        for result in chosen:
            batch.append(result)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    @property
    def _needs_a_face(self) -> bool:
        return any(each is not None for each in (self.min_face_px, self.min_quality, self.max_quality, self.reason))

    def _selects(self, face: Face) -> bool:
        return (
            (self.min_quality is None or face.quality >= self.min_quality)
            and (self.max_quality is None or face.quality <= self.max_quality)
            and (self.reason is None or self.reason in (face.reasons or ()))
        )
