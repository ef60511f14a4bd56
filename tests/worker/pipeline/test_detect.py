from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import Session, open_session
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.settings import Device
from tests.worker.pipeline.images import gradient, portrait

FACE = (178, 62, 90, 115)  # of the portrait


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    cache = tmp_path_factory.mktemp("cache")
    return open_session(prepare(find("builtin_detector", "detector", str(cache)), cache), Device.CPU)


@pytest.fixture
def detector(session: Session) -> Detector:
    return Detector(session, threshold=0.8)


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    left, top = np.maximum(a[:2], b[:2])
    right, bottom = np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


def test_the_portraits_face_is_found_in_its_place(detector: Detector) -> None:
    found = detector.detect(portrait())
    assert len(found) == 1
    assert overlap(found.boxes[0], np.array(FACE, np.float32)) > 0.6
    right_eye, left_eye, nose, right_mouth, left_mouth = found.landmarks[0]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert 0.8 <= found.confidences[0] <= 1


def test_shapes_and_types_are_as_documented_with_and_without_faces(detector: Detector) -> None:
    for image, faces in ((portrait(), 1), (gradient(200, 300), 0)):
        found = detector.detect(image)
        assert (found.boxes.shape, found.landmarks.shape, found.confidences.shape) == (
            (faces, 4),
            (faces, 5, 2),
            (faces,),
        )
        assert found.boxes.dtype == found.landmarks.dtype == found.confidences.dtype == np.float32


@pytest.mark.parametrize("scale", [2, 5])
def test_a_large_image_is_scaled_down_and_its_faces_mapped_back(detector: Detector, scale: int) -> None:
    found = detector.detect(np.asarray(cv2.resize(portrait(), None, fx=scale, fy=scale), np.uint8))
    assert len(found) == 1
    assert overlap(found.boxes[0] / scale, np.array(FACE, np.float32)) > 0.6


def test_a_face_has_the_same_place_in_a_scene_of_any_shape(detector: Detector) -> None:
    scene = np.zeros((513, 610, 3), np.uint8)
    scene[:512, 70:582] = portrait()
    alone, within = detector.detect(portrait()), detector.detect(scene)
    np.testing.assert_allclose(within.landmarks[0] - [70, 0], alone.landmarks[0], atol=4)


def test_faces_are_sorted_by_area_and_none_is_reported_twice(detector: Detector) -> None:
    scene = np.full((600, 640, 3), 128, np.uint8)
    scene[:300, :300] = cv2.resize(portrait(), (300, 300))
    scene[:512, 300:] = portrait()[:, 80:420]
    found = detector.detect(scene)
    areas = found.boxes[:, 2] * found.boxes[:, 3]
    assert len(found) == 2
    assert areas[0] > areas[1]


def test_the_last_image_leaves_nothing_in_the_networks_input(detector: Detector) -> None:
    wide, narrow = portrait()[:300], gradient(290, 500)
    detector.detect(wide)
    assert len(detector.detect(narrow)) == 0
    np.testing.assert_array_equal(detector.detect(wide).boxes, detector.detect(wide).boxes)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (3000, 2), (31, 33)])
def test_an_image_of_any_shape_is_accepted(detector: Detector, height: int, width: int) -> None:
    assert len(detector.detect(np.zeros((height, width, 3), np.uint8))) == 0
