"""Quality against the size of a face, and against each measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from fiqa.results.axes import Axis
from fiqa.results.charts import against
from fiqa.results.distribution import Bins
from fiqa.results.drawing import Drawing, Point
from fiqa.results.ranking import NATIVE, RankedImage, Scores

# The ends of a measure's axis: a few extreme values would press all others together.
_LEAST, _MOST = 0.005, 0.995
_SMALLEST_PX, _LARGEST_PX = 4.0, 8192.0
_FACE_PX: Final = "face_px"  # every face has a size, with or without measures


def scatters(scores: Mapping[int, Scores], bins: Bins) -> Iterator[tuple[str, Drawing]]:
    """Yield each measure that an image has, with its chart.

    Args:
        scores: of one model, by the number of the input.
        bins: the bins of the quality.
    """
    up = Axis.over(bins.edge(0), bins.edge(bins.number), at_most=5)
    sizes = {place: [(_size(image), image.quality) for image in each.sample] for place, each in scores.items()}
    every = [size for points in sizes.values() for size, _ in points]
    yield "Size of the face in pixels", against(Axis.doubling(min(every), max(every)), up, sizes)
    for index, name in enumerate(NATIVE):
        found = {place: _points(each.sample, index) for place, each in scores.items()}
        values = sorted(value for points in found.values() for value, _ in points)
        if values and name != _FACE_PX:
            low, high = (values[int(share * (len(values) - 1))] for share in (_LEAST, _MOST))
            yield (
                name,
                against(
                    Axis.over(low, high, at_most=5), up, {place: points for place, points in found.items() if points}
                ),
            )


def _size(image: RankedImage) -> float:
    return min(_LARGEST_PX, max(_SMALLEST_PX, image.face_px))


def _points(sample: list[RankedImage], index: int) -> list[Point]:
    measured = ((image.measures[index], image.quality) for image in sample if image.measures)
    return [(value, quality) for value, quality in measured if value is not None]
