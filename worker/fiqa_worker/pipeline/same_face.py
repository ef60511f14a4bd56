"""Whether two boxes show the same face, for faces that were found by several looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fiqa_worker.pipeline.detect import NO_FACES, Detections

_SHARE: Final = 0.5  # a wrong look often finds a part of a face, so IoU does not suit


def covered(face: Detections, others: Detections) -> bool:
    """Return whether a face shares more than half of its box, or of the other's box, with any of the others."""
    starts, sides = others.boxes[:, :2], others.boxes[:, 2:]
    low = np.maximum(starts, face.boxes[:, :2])
    high = np.minimum(starts + sides, face.boxes[:, :2] + face.boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    return bool((shared > _SHARE * np.minimum(sides.prod(axis=1), face.boxes[0, 2:].prod())).any())


def one_each(finds: Sequence[Detections]) -> Detections:
    """Join what several looks found, sorted by box area. If two show the same face, the earlier one is kept."""
    every = NO_FACES.joined(*finds)
    kept: list[int] = []
    for index in range(len(every)):
        if not covered(every[[index]], every[kept]):
            kept.append(index)
    faces = every[kept]
    return faces[np.argsort(-faces.boxes[:, 2:].prod(axis=1), kind="stable")]
