from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.annotate import draw
from tests.worker.plain import GRAY, face, gray_pixels


def touched(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((image != GRAY).any(axis=2), np.bool_)


def test_draw_does_not_change_its_input() -> None:
    image = gray_pixels(640, 480)
    drawn = draw(image, [face(200, 150, 120, 160)])
    assert (image == GRAY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_an_image_without_faces_stays_as_it_was() -> None:
    image = gray_pixels(64, 48)
    drawn = draw(image, [])
    assert drawn is not image
    assert (drawn == image).all()


def test_box_landmarks_and_a_number_above_the_box_are_drawn_and_nothing_else() -> None:
    marks = touched(draw(gray_pixels(640, 480), [face(200, 150, 120, 160)]))
    assert marks[150, 200:320].all()
    assert marks[310, 200:320].all()
    assert marks[150:310, 200].all()
    assert marks[150:310, 320].all()
    for x, y in face(200, 150, 120, 160).landmarks:
        assert marks[round(y), round(x)]
    assert marks[140, 205]
    marks[110:315, 195:325] = False
    assert not marks.any()


@pytest.mark.parametrize(
    "box",
    [(-30, -40, 100, 120), (600, -20, 90, 110), (-50, 420, 100, 120), (590, 400, 100, 120), (-10, -10, 700, 300)],
)
def test_the_number_of_a_face_at_the_border_is_whole(box: tuple[float, float, float, float]) -> None:
    # The same face with room on all sides, in an image of the same long side.
    with_room = draw(gray_pixels(640, 640), [face(200, 300, 100, box[3])])
    label = with_room[:298, 200:]
    rows, columns = (np.flatnonzero(touched(label).any(axis=axis)) for axis in (1, 0))
    label = label[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    at_border = draw(gray_pixels(640, 480), [face(*box)])
    assert (
        cv2.matchTemplate(at_border, label, cv2.TM_SQDIFF).min() < 1000
    )  # rounding; one pixel more or less is over 10,000


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (20, 400), (400, 20)])
def test_very_small_and_very_long_images_are_drawn_on(width: int, height: int) -> None:
    drawn = draw(gray_pixels(width, height), [face(0, 0, width, height)])
    assert drawn.shape == (height, width, 3)
    assert touched(drawn).any()


def test_lines_and_numbers_grow_with_the_image() -> None:
    small, large = (
        draw(gray_pixels(w, h), [face(0.3 * w, 0.3 * h, 0.3 * w, 0.4 * h)]) for w, h in ((400, 300), (4000, 3000))
    )
    assert touched(large).sum() > 50 * touched(small).sum()
