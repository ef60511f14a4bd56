"""The images of one quality model by their quality: the best, the worst, a sample of all, and the distributions."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fiqa.contract import ImageResult, ImageSize, Point, Reason
from fiqa.measures import OFIQ_MEASURES, OWN_MEASURES
from fiqa.results.distribution import Distribution

LISTED: Final = 20  # images in the list of the best, and in that of the worst
SAMPLE: Final = 2_000  # images of an input; the share of a class of 10 % is then right to 1.3 % in 95 of 100 samples
NATIVE: Final = (*OWN_MEASURES, *OFIQ_MEASURES)


@dataclass(frozen=True, slots=True)
class RankedImage:
    """An image and its largest face.

    Attributes:
        quality: of the largest face.
        size: of the image, in pixels.
        box: x, y, width and height of the face.
        faces: number of faces in the image.
        measures: the native values of the face, in the order of NATIVE; None if it was not measured.
    """

    quality: float
    uri: str
    id: str | None
    version: str | None
    size: ImageSize | None
    box: tuple[float, float, float, float]
    landmarks: Sequence[Point]
    faces: int
    reasons: tuple[Reason, ...]
    measures: tuple[float | None, ...] | None

    @classmethod
    def of(cls, result: ImageResult) -> RankedImage:
        """Return the image of a result that has a face."""
        face = result.faces[0]
        return cls(
            quality=face.quality,
            uri=result.uri,
            id=result.id,
            version=result.version,
            size=result.image,
            box=face.box,
            landmarks=face.landmarks,
            faces=len(result.faces),
            reasons=face.reasons or (),
            # Only the known names: a forged file may hold any number of others.
            measures=None if face.measures is None else tuple(map(face.measures.get, NATIVE)),
        )

    @property
    def face_px(self) -> float:
        """The longer side of the box, in pixels."""
        return max(self.box[2:])


class Scores:
    """The scores of one quality model. Scores of two models are never comparable, so each model has its own.

    Attributes:
        largest: the quality of the largest face of each image.
        every: the quality of every face.
        sample: all images, or if there are more than SAMPLE, a random sample of them.
    """

    def __init__(self, ranked: int = LISTED) -> None:
        """Create it.

        Args:
            ranked: how many of the best and of the worst images to keep.
        """
        self.largest = Distribution()
        self.every = Distribution()
        self.sample: list[RankedImage] = []
        self._ranked = ranked
        # Heaps whose first image is the next to be dropped. The number keeps images of equal quality in their order.
        self._best: list[tuple[float, int, RankedImage]] = []
        self._worst: list[tuple[float, int, RankedImage]] = []
        self._number = 0
        self._dice = random.Random(0)  # noqa: S311  no secret: the same results make the same page

    def add(self, result: ImageResult) -> None:
        """Count an image that has a face."""
        for face in result.faces:
            self.every.add(face.quality)
        quality = result.faces[0].quality
        self.largest.add(quality)
        self._number += 1
        best, worst = (quality, -self._number), (-quality, -self._number)
        is_ranked = len(self._best) < self._ranked or best > self._best[0][:2] or worst > self._worst[0][:2]
        # Each image is in the sample with the same probability (Vitter's algorithm R).
        place = len(self.sample) if len(self.sample) < SAMPLE else self._dice.randrange(self._number)
        if not is_ranked and place >= SAMPLE:
            return  # true of nearly all images
        image = RankedImage.of(result)
        for heap, key in ((self._best, best), (self._worst, worst)):
            heapq.heappush(heap, (*key, image))
            if len(heap) > self._ranked:
                heapq.heappop(heap)
        if place == len(self.sample):
            self.sample.append(image)
        elif place < SAMPLE:
            self.sample[place] = image

    @property
    def best(self) -> list[RankedImage]:
        """The best images by the quality of their largest face, the best first."""
        return [image for _, _, image in sorted(self._best, key=lambda ranked: ranked[:2], reverse=True)]

    @property
    def worst(self) -> list[RankedImage]:
        """The same, but the worst first."""
        return [image for _, _, image in sorted(self._worst, key=lambda ranked: ranked[:2], reverse=True)]

    def middle(self, number: int, *, but: Sequence[RankedImage] = ()) -> list[RankedImage]:
        """Return the images of the sample whose quality is closest to the median, the best first.

        Args:
            number: how many.
            but: images to leave out.
        """
        if not self.sample:
            return []
        (median,) = self.largest.quantiles(0.5)
        others = [image for image in self.sample if image not in but]
        closest = heapq.nsmallest(number, others, key=lambda image: abs(image.quality - median))
        return sorted(closest, key=lambda image: -image.quality)
