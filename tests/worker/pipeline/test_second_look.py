from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa.contract import Face, ImageResult, Item
from fiqa_worker.demo.photos import make_photos
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.settings import Switch, WorkerSettings
from tests.worker.pipeline.images import gradient, jpeg, portrait, resized

Pixels = NDArray[np.uint8]

FACE = (178, 62, 90, 115)  # of the portrait


def load(second_look: Switch) -> Pipeline:
    return Pipeline.load(
        WorkerSettings(
            detector="builtin_detector",
            quality_model="builtin_quality",
            allowed_sources=("file:///",),
            second_look=second_look,
        )
    )


@pytest.fixture(scope="module")
def on() -> Pipeline:
    return load(Switch.ON)


@pytest.fixture(scope="module")
def off() -> Pipeline:
    return load(Switch.OFF)


@pytest.fixture
def score(tmp_path: Path) -> Callable[[Pipeline, Pixels], ImageResult]:
    def score(pipeline: Pipeline, pixels: Pixels) -> ImageResult:
        path = tmp_path / "image.jpg"
        path.write_bytes(jpeg(pixels))
        (result,) = pipeline.run([Item(uri=path.as_uri())], quarantined={})
        assert result.error is None
        return result

    return score


Score = Callable[[Pipeline, Pixels], ImageResult]


def turned(pixels: Pixels, degrees: int) -> Pixels:
    """Turn an image clockwise."""
    return np.ascontiguousarray(np.rot90(pixels, -degrees // 90))


def tilted(pixels: Pixels, degrees: float) -> Pixels:
    """Turn an image clockwise around its face."""
    turn = cv2.getRotationMatrix2D((223, 120), -degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, turn, pixels.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def close_up(ratio: float) -> Pixels:
    """An image of 800 px that is smaller than the portrait's face by this ratio."""
    x, y, width, height = FACE
    side = round(max(width, height) / ratio)
    left, top = x + (width - side) // 2, y + (height - side) // 2
    return resized(portrait()[top : top + side, left : left + side], 800, 800)


def center(face: Face) -> tuple[float, float]:
    x, y, width, height = face.box
    return x + width / 2, y + height / 2


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_image_has_the_quality_of_the_upright_one(
    on: Pipeline, off: Pipeline, score: Score, degrees: int
) -> None:
    (upright,) = score(on, portrait()).faces
    image = turned(portrait(), degrees)
    (face,) = score(on, image).faces
    assert face.turned == degrees
    assert face.quality == pytest.approx(upright.quality, abs=0.02)
    assert all(face.quality > other.quality + 0.3 for other in score(off, image).faces)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_boxes_and_landmarks_of_a_turned_image_are_in_its_own_pixels(on: Pipeline, score: Score, degrees: int) -> None:
    pixels = portrait()[:400]  # sides of two lengths
    height, width = pixels.shape[:2]
    (upright,) = score(on, pixels).faces
    (face,) = score(on, turned(pixels, degrees)).faces

    def moved(x: float, y: float) -> tuple[float, float]:
        return {90: (height - 1 - y, x), 180: (width - 1 - x, height - 1 - y), 270: (y, width - 1 - x)}[degrees]

    np.testing.assert_allclose(face.landmarks, [moved(*point) for point in upright.landmarks], atol=1)
    np.testing.assert_allclose(center(face), moved(*center(upright)), atol=1)
    sides = upright.box[2:] if degrees == 180 else upright.box[:1:-1]
    np.testing.assert_allclose(face.box[2:], sides, atol=1)


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_tilted_face_has_the_quality_of_the_upright_one(
    on: Pipeline, off: Pipeline, score: Score, degrees: int
) -> None:
    (upright,) = score(on, portrait()).faces
    image = tilted(portrait(), degrees)
    (face,) = score(on, image).faces
    assert face.quality == pytest.approx(upright.quality, abs=0.08)
    assert all(face.quality > other.quality + 0.3 for other in score(off, image).faces)
    right, left = face.landmarks[:2]
    assert np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])) == pytest.approx(degrees, abs=6)


@pytest.mark.parametrize("ratio", [1.2, 1.4])
def test_a_face_that_fills_the_image_is_found(on: Pipeline, score: Score, ratio: float) -> None:
    (face,) = score(on, close_up(ratio)).faces
    assert face.turned is None
    assert center(face) == pytest.approx((400, 400), abs=100)


def test_a_person_on_the_feet_and_one_on_the_head_are_both_right_in_one_image(on: Pipeline, score: Score) -> None:
    person = np.ascontiguousarray(portrait()[:300, 379:69:-1])
    alone = score(on, person).faces[0].quality
    both = np.hstack([person, turned(person, 180)])
    faces = sorted(score(on, both).faces, key=lambda face: face.box[0])
    assert [face.turned for face in faces] == [None, 180]
    assert [face.quality for face in faces] == pytest.approx([alone, alone], abs=0.05)


def test_damaged_upright_images_keep_their_faces_to_the_last_digit(on: Pipeline, off: Pipeline, tmp_path: Path) -> None:
    """Blurred, dark, noisy, small, covered: the detector is not sure of them either."""
    items = [Item(uri=path.as_uri()) for path in make_photos(tmp_path) if path.stem != "turned-1"]
    for seen, expected in zip(on.run(items, quarantined={}), off.run(items, quarantined={}), strict=True):
        assert seen.faces == expected.faces, seen.uri
        assert seen.error == expected.error


def test_an_image_without_a_face_stays_without_one(on: Pipeline, score: Score) -> None:
    assert score(on, gradient(700, 500)).faces == ()


def test_a_turned_face_is_written_with_its_turn_and_an_upright_one_without(on: Pipeline, score: Score) -> None:
    assert b'"turned":180' in score(on, turned(portrait(), 180)).encode()
    assert b'"turned"' not in score(on, portrait()).encode()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (3000, 2), (31, 33)])
def test_an_image_of_any_shape_is_accepted(on: Pipeline, score: Score, height: int, width: int) -> None:
    assert score(on, gradient(height, width)).faces == ()


def test_the_second_look_is_a_part_of_the_fingerprint(on: Pipeline, off: Pipeline) -> None:
    assert on.identity.fingerprint != off.identity.fingerprint
