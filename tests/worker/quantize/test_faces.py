from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiqa_worker.errors import ModelError
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.quantize.faces import collect_faces

MAX_PIXELS = 100_000_000


def test_the_error_for_too_few_faces_is_one_line(photos: list[Path], detector: Detector) -> None:
    with pytest.raises(ModelError, match=r"33 images have .* but 100 of each are needed: give a folder") as error:
        collect_faces(photos, detector, faces=400, max_pixels=MAX_PIXELS)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match=r"^0 images have 0 faces to calibrate with and 0 to compare"):
        collect_faces([], detector, faces=400, max_pixels=MAX_PIXELS)


def test_all_faces_of_an_image_are_on_one_side(photos: list[Path], detector: Detector) -> None:
    group = [path for path in photos if path.name == "group-0.jpg"]
    with pytest.raises(ModelError, match=r"^1 image has 6 faces to calibrate with and 0 to compare"):
        collect_faces(group, detector, faces=6, max_pixels=MAX_PIXELS, min_faces=2)
    calibration, held_out = collect_faces(group * 2, detector, faces=12, max_pixels=MAX_PIXELS, min_faces=2)
    np.testing.assert_array_equal(calibration, held_out)


def test_enough_faces_end_the_search_and_the_same_ones_are_taken_each_time(
    photos: list[Path], detector: Detector
) -> None:
    reported: list[int] = []
    first, second = (
        collect_faces(photos, detector, faces=12, max_pixels=MAX_PIXELS, min_faces=4, progress=reported.append)
        for _ in range(2)
    )
    assert max(reported) == 12
    assert 12 <= len(first[0]) + len(first[1]) < 20
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
