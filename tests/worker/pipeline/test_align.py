from __future__ import annotations

import cv2
import numpy as np
import pytest

from fiqa_worker.pipeline.align import align
from tests.worker.pipeline.images import TEMPLATE, gradient

LANDMARKS = np.array([[210, 110], [247, 108], [229, 130], [213, 150], [246, 149]], np.float32)


def test_landmarks_on_the_template_leave_the_crop_as_it_is() -> None:
    image = gradient(112, 112)
    np.testing.assert_array_equal(align(image, TEMPLATE), image)


@pytest.mark.parametrize("degrees", [-170, -30, 0, 45, 90])
@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0])
def test_a_turned_scaled_and_shifted_face_comes_back_upright(degrees: float, scale: float) -> None:
    upright = cv2.GaussianBlur(gradient(112, 112), (0, 0), 3)
    turn = cv2.getRotationMatrix2D((56, 56), degrees, scale) + np.array([[0, 0, 200], [0, 0, 190]])
    scene = cv2.warpAffine(upright, turn, (512, 480), flags=cv2.INTER_CUBIC)
    landmarks = (TEMPLATE @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    crop = align(np.asarray(scene, np.uint8), landmarks)
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8
    inner = np.s_[20:92, 20:92]
    assert np.abs(crop[inner].astype(int) - upright[inner].astype(int)).mean() < 2


def test_the_crop_does_not_depend_on_the_random_state() -> None:
    image, crops = gradient(300, 300), []
    for seed in range(5):
        cv2.setRNGSeed(seed)
        crops.append(align(image, LANDMARKS).tobytes())
    assert len(set(crops)) == 1


def test_parts_of_a_face_outside_of_the_image_are_black() -> None:
    crop = align(np.full((60, 60, 3), 200, np.uint8), TEMPLATE)
    assert crop[30, 30].tolist() == [200, 200, 200]
    assert crop[100, 100].tolist() == [0, 0, 0]


def test_landmarks_in_one_point_still_give_a_crop_around_it() -> None:
    image = gradient(200, 200)
    point = (120.0, 80.0)
    crop = align(image, np.full((5, 2), point, np.float32))
    x, y = TEMPLATE.mean(axis=0)
    expected = image[80, 120].astype(int)
    assert np.abs(crop[round(y), round(x)].astype(int) - expected).max() <= 3
