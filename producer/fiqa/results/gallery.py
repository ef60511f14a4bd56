"""Which faces a report shows: the worst, those in the middle and the best; and their crops."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from fiqa.results.ranking import RankedImage, Scores


@dataclass(frozen=True, slots=True)
class Crop:
    """The crop of a face, as the quality model saw it.

    Attributes:
        jpeg: a JPEG file of 112x112; empty if it could not be made.
        problem: why not, as one line.
    """

    jpeg: bytes = b""
    problem: str = ""

    @property
    def uri(self) -> str:
        """The crop as a data: URI."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


@dataclass(frozen=True, slots=True)
class Row:
    """Some faces under one title. The worst ones begin with the worst, all others with the best."""

    title: str
    images: list[RankedImage]


def ranked_for(faces: int) -> int:
    """Return how many of the best, and of the worst, images are needed to show so many faces."""
    return -(-faces // 3)


def rows(scores: Scores, faces: int) -> list[Row]:
    """Choose the faces to show.

    Args:
        scores: of one input, with at least `ranked_for(faces)` of the best and of the worst images.
        faces: how many to show. If there are no more, all are one row.
    """
    if scores.largest.total <= min(faces, len(scores.sample)):
        return [Row("All", sorted(scores.sample, key=lambda image: -image.quality))]
    third = ranked_for(faces)
    worst = scores.worst[:third]
    best = scores.best[: min(third, faces - len(worst))]
    found = [
        Row("Worst", worst),
        Row("Middle", scores.middle(faces - len(worst) - len(best), but=[*worst, *best])),
        Row("Best", best),
    ]
    return [row for row in found if row.images]
