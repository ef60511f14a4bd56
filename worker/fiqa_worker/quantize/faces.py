"""Finds faces in images: some to calibrate with, and others to compare scores on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fiqa.text import count
from fiqa_worker.errors import ImageFailure, ModelError
from fiqa_worker.pipeline.align import align
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.detect import Detector

Crops: TypeAlias = NDArray[np.uint8]  # N x 112 x 112 x 3, BGR

MIN_FACES: Final = 200
_SEED: Final = 8  # the images are taken in a random order, which is the same each time


def collect_faces(
    images: Sequence[Path],
    detector: Detector,
    *,
    faces: int,
    max_pixels: int,
    min_faces: int = MIN_FACES,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[Crops, Crops]:
    """Find faces to calibrate with, and about as many others to compare scores on.

    Images are taken in a random order, which is the same each time, until there are enough faces. All faces of one
    image go to the same array. An image that cannot be read is skipped.

    Args:
        images: image files.
        detector: finds the faces.
        faces: the search ends when both arrays together have this many faces.
        max_pixels: size limit of an image. A larger one is skipped.
        min_faces: both arrays together need at least this many faces.
        progress: called with the number of faces found so far.

    Returns:
        Two arrays of aligned faces, each N x 112 x 112 x 3, BGR.

    Raises:
        ModelError: there are too few faces.
    """
    sides: tuple[list[Crops], list[Crops]] = ([], [])
    for path in random.Random(_SEED).sample(images, len(images)):  # noqa: S311  not a secret
        try:
            pixels = decode(path.read_bytes(), max_pixels=max_pixels)
        except (ImageFailure, OSError):
            continue
        side = min(sides, key=len)
        side.extend(align(pixels, landmarks) for landmarks in detector.detect(pixels).landmarks)
        found = sum(map(len, sides))
        progress(min(found, faces))
        if found >= faces and min(map(len, sides)) >= min_faces // 2:
            break
    if min(map(len, sides)) < min_faces // 2:
        found_in = count(len(images), "image has", "images have")
        raise ModelError(
            f"{found_in} {count(len(sides[0]), 'face')} to calibrate with and {len(sides[1])} to compare scores on,"
            f" but {min_faces // 2} of each are needed: give a folder with more images"
        )
    calibration, held_out = (np.stack(side) for side in sides)
    return calibration, held_out
