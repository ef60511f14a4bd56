"""A second look at images that the first one cannot have seen rightly.

These are turned images, people who lie or hang, tilted heads, and faces that fill the image. The detector itself shows
where it failed: it is less sure of a face that is not upright, much less so in a small view, and its landmarks turn by
less than half of the face's tilt. So nothing here depends on the quality model. No look is chosen for its quality:
the best of several looks would flatter a face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fiqa_worker.pipeline.detect import Detections, Detector
from fiqa_worker.pipeline.looks import around, quarter, roll, turn_between, whole
from fiqa_worker.pipeline.same_face import covered, one_each

# YuNet's confidence in the largest face of 360 upright images of Labeled Faces in the Wild (LFW) is 0.89 to 0.95, in
# two of them below this. Of the faces that it finds in these images turned by 90, 180 or 270 degrees, none reaches it.
_SURE: Final = 0.9
# At a tilt of 20 degrees the median is 0.92. There the landmarks show 8 degrees; upright, 95 % show less than 4.
_SURE_UPRIGHT: Final = 0.93
_SHOWN_DEGREES: Final = 5.0
_TRUE_PER_SHOWN: Final = 2.2

# In this view 99 % of the upright faces are above 0.86, and 98 % of the turned ones below 0.83, most of them not found.
_SMALL_PX: Final = 64
_SURE_IN_SMALL: Final = 0.85
# A face that is tilted by 45 degrees is below this, and only such a one needs the looks in between.
_DIAGONAL: Final = 0.75
_VIEW_PX: Final = 128

# A look must gain this much. The best of seven wrong looks at 120 upright images that were blurred gained 0.00.
_GAIN: Final = 0.03
# A look that turns the face back must be surer by this than one that turns it away by as much.
_DIFFERENCE: Final = 0.05
_LEAST_TILT: Final = 16.0
_TILTS: Final = (15.0, 45.0)
# Beside upright faces, what a look at the turned image finds and is less sure of is often no face.
_SURE_ALONE: Final = 0.8
_STRAIGHT_DEGREES: Final = 2.0
_FLAT: Final = 0.01

# Bounds of the time per image.
_MOST_SEEN: Final = 16
_MOST_FACES: Final = 2
_MOST_CORRECTIONS: Final = 2
_LEAST_SIDE_PX: Final = 32
_LEAST_SHARE: Final = 0.75
_LEAST_MARGIN: Final = 0.1

_TURNS: Final = (90, 180, 270)
_DIAGONALS: Final = (45, 135, 225, 315)
_STEP: Final = 45
_LARGEST_FACE_PX: Final = 300  # that YuNet finds


@dataclass(frozen=True, slots=True)
class _View:
    """A view of a face that was found again: how far it is turned, and where the face is in the image."""

    degrees: float
    shown: float
    face: Detections

    @property
    def confidence(self) -> float:
        return float(self.face.confidences[0])


class SecondLook:
    """Looks again at images without a face, and at faces that may not be upright.

    Args:
        detector: one like that of the first look. One thread at a time may use it.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def improve(self, image: NDArray[np.uint8], found: Detections) -> Detections:
        """Return the faces of an image after a second look. If it needs none, return `found` itself.

        Args:
            image: H x W x 3, BGR: the copy that the first look used.
            found: what the first look found, in pixels of the copy.
        """
        if not len(found):
            found = self._look_everywhere(image)
        doubtful = _doubtful(found, image.shape[1], image.shape[0])
        return self._look_closely(image, found, doubtful) if doubtful else found

    def _look_everywhere(self, image: NDArray[np.uint8]) -> Detections:
        """Look at the image at half its size in all four directions, then at its full size in the best of them."""
        half = max(image.shape[:2]) // 2
        # At half the size, a face that is too large for the first look can be found.
        turns = (0, *_TURNS) if 2 * half > _LARGEST_FACE_PX else _TURNS
        looks = [whole(image, turn, half) for turn in turns]
        finds = [look.in_image(self._detector.detect(look.pixels)) for look in looks]
        best = max(range(len(turns)), key=lambda index: finds[index].confidences.max(initial=0))
        if not len(finds[best]) or not turns[best]:
            return finds[best]
        return one_each([self._look_turned(image, turns[best]), finds[best]])

    def _look_turned(self, image: NDArray[np.uint8], turn: int) -> Detections:
        look = whole(image, turn, self._detector.size)
        return look.in_image(self._detector.detect(look.pixels))

    def _look_closely(self, image: NDArray[np.uint8], found: Detections, doubtful: list[int]) -> Detections:
        """Look at the surroundings of doubtful faces in several directions."""
        tilted: list[Detections] = []
        turned: list[Detections] = []
        kept = np.ones(len(found), bool)
        for index in doubtful:
            view = self._upright(image, found[[index]])
            others = np.arange(len(found)) != index
            # The view of a small face may show a large one beside it.
            if view is None or covered(view.face, found[others]):
                continue
            kept[index] = False
            is_tilted = abs(turn_between(quarter(view.degrees), view.degrees)) >= _LEAST_TILT
            (tilted if is_tilted else turned).append(view.face)
        if kept.all():
            return found
        faces = found[kept]
        # If one face is turned, so may be others that the first look did not find. And at the full size a face has the
        # landmarks that it has in an upright image.
        for turn in sorted({int(face.turned[0]) for face in tilted + turned} - set(found.turned.tolist())):
            others = self._look_turned(image, turn)
            faces = one_each([faces.joined(others[others.confidences >= _SURE_ALONE]).surest_first()])
        return one_each([*tilted, faces, *turned])

    def _upright(self, image: NDArray[np.uint8], face: Detections) -> _View | None:
        """Return the view in which a face is upright. Return None if it is upright as it was found."""
        sure = float(face.confidences[0])
        in_small = self._confidence(image, face, 0)
        turns: list[float] = []
        if sure < _SURE and in_small < _SURE_IN_SMALL:
            turns = self._turns(image, face, in_small) or self._tilts(image, face, in_small, shown=0)
        shown = _shown(face, 0)
        if not turns and abs(shown) > _SHOWN_DEGREES:
            turns = self._tilts(image, face, in_small, shown)
        views = [view for turn in turns if (view := self._view(image, face, turn))]
        best = max(views, key=lambda view: view.confidence, default=None)
        if best is None or best.confidence < max(sure, in_small) - _FLAT:
            return None
        best = self._straightened(image, face, best)
        return best if abs(turn_between(float(face.turned[0]), best.degrees)) >= _LEAST_TILT else None

    def _turns(self, image: NDArray[np.uint8], face: Detections, in_small: float) -> list[float]:
        """Return the turns at which the detector may be surest of a face; none if it is surest as it was found."""
        turns = (*_TURNS, *_DIAGONALS) if in_small < _DIAGONAL else _TURNS
        sure = {turn: self._confidence(image, face, turn) for turn in turns}
        best = max(sure, key=sure.__getitem__)
        if sure[best] <= in_small + _GAIN:
            return []
        if len(turns) == len(_TURNS):
            return [best]
        sure[0] = in_small
        before, after = (max(sure[(best + side) % 360], 0.6) for side in (-_STEP, _STEP))
        bend = 2 * sure[best] - before - after
        # Between the steps, the vertex of the parabola through the three confidences is a good guess.
        return [best, best + _STEP * (after - before) / (2 * bend)] if bend > _GAIN else [best]

    def _tilts(self, image: NDArray[np.uint8], face: Detections, in_small: float, shown: float) -> list[float]:
        """Return the tilt of a face; none if the detector is as sure of it as it was found.

        Confidence falls with the square of the tilt. So it differs most between two looks of which one turns a tilted
        face back, and the other one turns it away by as much.
        """
        tilt = math.copysign(min(max(_TRUE_PER_SHOWN * abs(shown), _TILTS[0]), _TILTS[1]), shown)
        back = self._confidence(image, face, tilt)
        if shown and back <= in_small:
            return []
        away = self._confidence(image, face, -tilt)
        if not shown and away > back:
            tilt, back, away = -tilt, away, back
        return [tilt] if back > max(in_small, away + _DIFFERENCE) else []

    def _straightened(self, image: NDArray[np.uint8], face: Detections, view: _View) -> _View:
        """Turn a view by what its landmarks show, until they show nothing."""
        for _ in range(_MOST_CORRECTIONS):
            if abs(view.shown) < _STRAIGHT_DEGREES:
                break
            turn = turn_between(float(face.turned[0]), view.degrees) + _TRUE_PER_SHOWN * view.shown
            turned = self._view(image, face, turn)
            if turned is None or turned.confidence < view.confidence - _FLAT or abs(turned.shown) >= abs(view.shown):
                break
            view = turned
        return view

    def _confidence(self, image: NDArray[np.uint8], face: Detections, turn: float) -> float:
        """Return the confidence in a face in a small view that is turned from where it was found; 0 if it is gone."""
        look = around(image, face.boxes[0], float(face.turned[0]) + turn, _SMALL_PX)
        found = self._detector.detect(look.pixels)
        return max(found.confidences[_central(found, _SMALL_PX)].tolist(), default=0.0)

    def _view(self, image: NDArray[np.uint8], face: Detections, turn: float) -> _View | None:
        look = around(image, face.boxes[0], float(face.turned[0]) + turn, _VIEW_PX)
        found = self._detector.detect(look.pixels)
        found = found[_central(found, _VIEW_PX)].surest_first()[:1]
        return _View(look.degrees, roll(found.landmarks[0]), look.in_image(found)) if len(found) else None


def _doubtful(found: Detections, width: int, height: int) -> list[int]:
    """Return the indexes of faces that may not be upright. At most two, and no small ones, since each takes time."""
    confidences = found.confidences[:_MOST_SEEN].tolist()
    if min(confidences, default=1) >= _SURE_UPRIGHT:
        return []
    # A face is looked at if it is not much smaller than the largest one. Others than that must not be cut off by the
    # image's edge: the detector is not sure of these either.
    doubtful: list[int] = []
    least_side = float(_LEAST_SIDE_PX)
    for index, (confidence, (x, y, *sides)) in enumerate(
        zip(confidences, found.boxes[:_MOST_SEEN].tolist(), strict=True)
    ):
        side = max(sides)
        if side < least_side:
            continue
        if index:
            margin = _LEAST_MARGIN * side
            if min(x, y, width - x - sides[0], height - y - sides[1]) < margin:
                continue
        else:
            least_side = max(least_side, _LEAST_SHARE * side)
        if confidence < _SURE or (confidence < _SURE_UPRIGHT and abs(_shown(found, index)) > _SHOWN_DEGREES):
            doubtful.append(index)
    return doubtful[:_MOST_FACES]


def _shown(found: Detections, index: int) -> float:
    """Return the tilt that a face's landmarks show: less than half of the true one."""
    return turn_between(float(found.turned[index]), roll(found.landmarks[index]))


def _central(found: Detections, side: int) -> list[int]:
    """Return the indexes of the faces in the middle of a square view."""
    middle = side / 2
    return [
        index
        for index, (x, y, width, height) in enumerate(found.boxes.tolist())
        if math.hypot(x + width / 2 - middle, y + height / 2 - middle) < side / 4
    ]
