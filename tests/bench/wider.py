"""Scenes of WIDER FACE with their marked faces, and the recall of a detector on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Ranges of the height of a marked face, in pixels.
HEIGHTS: Final = ((16, 32), (32, 64), (64, 128), (128, 256), (256, 4096))
_SAME: Final = 0.4  # IoU: the marked boxes are tighter than YuNet's
_INVALID: Final = 7  # column


def marked(folder: Path) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    """Yield each scene of a folder with its marked faces: N x 10, as wider_face_val_bbx_gt.txt has them."""
    files = {path.name: path for path in folder.rglob("*.jpg")}
    lines = iter(next(folder.rglob("wider_face_val_bbx_gt.txt")).read_text().splitlines())
    for name in lines:
        rows = [next(lines).split() for _ in range(max(1, int(next(lines))))]
        path = files.get(Path(name).name)
        if path:
            yield path, np.array(rows, np.float64)


@dataclass(slots=True)
class Recall:
    """Counts the marked faces that were found, by their height, and the found faces that are not marked."""

    found: list[int] = field(default_factory=lambda: [0] * len(HEIGHTS))
    marked: list[int] = field(default_factory=lambda: [0] * len(HEIGHTS))
    unmarked: int = 0

    def add(self, faces: NDArray[np.float64], boxes: NDArray[np.float32]) -> None:
        """Count one scene: N x 10 marked faces, M x 4 found boxes."""
        overlaps = _overlaps(faces[:, :4], boxes)
        is_seen = (overlaps > _SAME).any(axis=1)
        for index, (low, high) in enumerate(HEIGHTS):
            right_height = (faces[:, 3] >= low) & (faces[:, 3] < high) & (faces[:, _INVALID] == 0)
            self.found[index] += int((is_seen & right_height).sum())
            self.marked[index] += int(right_height.sum())
        self.unmarked += int((overlaps < _SAME / 2).all(axis=0).sum())

    def share(self, index: int) -> str:
        return f"{self.found[index]} of {self.marked[index]}"


def _overlaps(one: NDArray[np.float64], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the IoU of each pair of boxes: N x M."""
    low = np.maximum(one[:, np.newaxis, :2], other[:, :2])
    high = np.minimum(one[:, np.newaxis, :2] + one[:, np.newaxis, 2:], other[:, :2] + other[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = one[:, 2:].prod(axis=1)[:, np.newaxis] + other[:, 2:].prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)
