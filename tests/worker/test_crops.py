from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa.contract import ImageSize, Point
from fiqa.results.ranking import RankedImage
from fiqa_worker import crops
from fiqa_worker.crops import crops_of
from tests.worker.pipeline.images import aligned_face, portrait, portrait_jpeg

LANDMARKS = ((210.0, 110.0), (247.0, 108.0), (229.0, 130.0), (213.0, 150.0), (246.0, 149.0))


def image(uri: str, size: tuple[int, int] = (512, 512), landmarks: tuple[Point, ...] = LANDMARKS) -> RankedImage:
    scale = size[0] / 512
    box = (180 * scale, 62 * scale, 90 * scale, 115 * scale)
    return RankedImage(0.7, uri, None, None, ImageSize(width=size[0], height=size[1]), box, landmarks, 1, (), None)


def decoded(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def difference(data: bytes) -> float:
    """The mean difference to the portrait's crop."""
    return float(np.abs(decoded(data).astype(int) - aligned_face().astype(int)).mean())


def test_crops_are_what_the_quality_model_saw(tmp_path: Path) -> None:
    (tmp_path / "small.jpg").write_bytes(portrait_jpeg())
    cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(portrait(), (4096, 4096), interpolation=cv2.INTER_CUBIC))
    larger = tuple(((x + 0.5) * 8 - 0.5, (y + 0.5) * 8 - 0.5) for x, y in LANDMARKS)
    small, large = crops_of(
        [
            image((tmp_path / "small.jpg").as_uri()),
            image((tmp_path / "large.jpg").as_uri(), (4096, 4096), larger),
        ]
    )
    assert difference(small.jpeg) < 4  # JPEG
    assert difference(large.jpeg) < 6  # decoded at a smaller size
    assert len(small.jpeg) < 10_000


def test_a_source_that_cannot_be_read_any_more_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_MAX_IMAGE_PIXELS", "300000")
    files = {
        "good.jpg": portrait_jpeg(),
        "text.jpg": b"no image",
        "cut.jpg": portrait_jpeg()[:9000],
        "changed.png": cv2.imencode(".png", portrait()[:400])[1].tobytes(),
        "large.png": cv2.imencode(".png", np.zeros((600, 600, 3), np.uint8))[1].tobytes(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    names = ["gone.jpg", *files]
    found = list(crops_of([image((tmp_path / name).as_uri()) for name in names] + [image("ftp://b/1"), image("s3://")]))
    problems = dict(zip([*names, "ftp", "s3"], (crop.problem for crop in found), strict=True))
    assert problems.pop("good.jpg") == ""
    assert [problem.partition(":")[0] for problem in problems.values()] == [
        "not_found",
        "unsupported_format",
        "decode_failed",
        "it has changed since it was scored",
        "too_many_pixels",
        "source_not_allowed",
        problems["s3"].partition(":")[0],
    ]
    assert all(problems.values())


def test_landmarks_that_make_no_sense_have_a_crop_or_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(portrait_jpeg())
    uri = (tmp_path / "a.jpg").as_uri()
    odd = [((0.0, 0.0),) * 5, ((1e30, -1e30),) * 5, tuple((-1e6 * n, 1e6 * n) for n in range(5))]
    assert all(crop.jpeg or crop.problem for crop in crops_of([image(uri, landmarks=each) for each in odd]))


def test_images_for_which_no_time_is_left_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "_ALL_S", 0.0)
    os.mkfifo(tmp_path / "pipe")
    waiting = list(crops_of([image((tmp_path / "pipe").as_uri())] * 3))
    assert len(waiting) == 3
    assert all(crop.problem for crop in waiting)
