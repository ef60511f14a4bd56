from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.pipeline.head_pose import FACE_POINTS, head_pose
from tests.worker.pipeline.faces import turned_points


@pytest.mark.parametrize("roll", [0, 20, -110, 180])
@pytest.mark.parametrize("pitch", [0, 25, -25])
@pytest.mark.parametrize("yaw", [0, 15, 60, -60, 85])
def test_the_pose_of_turned_points_is_their_turn(yaw: float, pitch: float, roll: float) -> None:
    pose = head_pose(turned_points(yaw, pitch, roll))
    assert pose is not None
    assert (pose.yaw, pose.pitch) == pytest.approx((yaw, pitch), abs=0.1)
    if not yaw or not pitch:  # otherwise the line through the eyes has a slope of its own
        assert abs((pose.roll - roll + 180) % 360 - 180) < 0.1


def test_the_signs_are_those_of_the_standard() -> None:
    frontal = (FACE_POINTS[:, :2] * 2 + 300).astype(np.float32)

    def moved(point: int, x: float, y: float) -> NDArray[np.float32]:
        points = frontal.copy()
        points[point] += (x, y)
        return points

    nose, right_eye = 2, 0
    # In the image, the subject's own left is on the right.
    left, down, right_shoulder = (
        head_pose(moved(nose, 20, 0)),
        head_pose(moved(nose, 0, 20)),
        head_pose(moved(right_eye, 0, 20)),
    )
    assert left is not None
    assert down is not None
    assert right_shoulder is not None
    assert (left.yaw > 10, down.pitch > 10, right_shoulder.roll > 5) == (True, True, True)


def test_points_that_move_by_a_fortieth_of_the_eyes_distance_move_the_angles_by_a_few_degrees() -> None:
    random = np.random.default_rng(0)
    points = turned_points(30, 0, 0)
    noise = np.linalg.norm(points[0] - points[1]) / 40
    poses = [head_pose((points + random.normal(0, noise, (5, 2))).astype(np.float32)) for _ in range(200)]
    found = np.array([(pose.yaw, pose.pitch) for pose in poses if pose])
    assert np.abs(found.mean(axis=0) - (30, 0)).max() < 1
    assert found.std(axis=0).max() < 5


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.linspace((0, 0), (4, 0), 5), np.ones((5, 2)) * 7])
def test_points_on_a_line_have_no_pose(points: NDArray[np.float64]) -> None:
    assert head_pose(points.astype(np.float32)) is None
