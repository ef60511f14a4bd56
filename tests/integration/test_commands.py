"""The worker's other commands as people type them: real processes, real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest

from tests.integration.conftest import BUILTIN, Fiqa, one_line


def test_score_prints_a_line_for_each_face_and_draws_the_faces(fiqa: Fiqa, photos: Path, tmp_path: Path) -> None:
    done = fiqa("score", photos / "group-0.jpg", "-o", "results.jpg")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 5
    assert all(re.fullmatch(r"quality \d\.\d{4}  confidence \d\.\d{3}  box( -?\d+\.\d){4}", line) for line in lines)
    drawn, original = cv2.imread(str(tmp_path / "cwd" / "results.jpg")), cv2.imread(str(photos / "group-0.jpg"))
    assert drawn is not None
    assert original is not None
    assert drawn.shape == original.shape
    assert (drawn != original).any()


def test_score_of_a_damaged_image_says_why(fiqa: Fiqa, photos: Path) -> None:
    done = fiqa("score", photos / "cut-0.jpg")
    assert done.returncode == 1
    assert one_line(done).endswith("cut-0.jpg: decode_failed: the JPEG file is cut off or damaged")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"FIQA_DETECTOR": "yunet_2023mar"}, "fiqa models pull"),
        ({"FIQA_DETECTOR": "/nowhere/mine.onnx"}, "cannot read /nowhere/mine.onnx"),
        ({"FIQA_DETECTOR": "builtin_quality"}, "is a quality model, not a detector model"),
        ({"FIQA_DETECT_SIZE": "100"}, "FIQA_DETECT_SIZE"),
        ({"FIQA_DETECTOR": "yunet"}, "there is no detector model yunet"),
        ({"FIQA_DEVICE": "cuda"}, "FIQA_DEVICE"),
        ({"FIQA_ALLOWED_SOURCES": "http://"}, "FIQA_ALLOWED_SOURCES"),
        ({"FIQA_REDIS_URL": "redis://127.0.0.1:1/0"}, "cannot reach Redis"),
        ({"FIQA_REDIS_URL": "localhost"}, "FIQA_REDIS_URL"),
    ],
)
def test_a_worker_that_cannot_work_says_what_to_do_and_does_not_start(
    fiqa: Fiqa, redis_url: str, environment: dict[str, str], says: str
) -> None:
    done = fiqa("worker", environment={**BUILTIN, "FIQA_REDIS_URL": redis_url, **environment})
    assert done.returncode == (1 if says == "cannot reach Redis" else 2)
    assert says in one_line(done)


def test_status_of_a_job_that_does_not_exist_is_one_line(fiqa: Fiqa, redis_url: str) -> None:
    done = fiqa("status", "20200101-000000-abcdef", environment={"FIQA_REDIS_URL": redis_url})
    assert done.returncode == 1
    assert "no job 20200101-000000-abcdef" in one_line(done)


def test_status_json_has_the_fields_of_the_contract(fiqa: Fiqa, redis_url: str, photos: Path) -> None:
    environment = {"FIQA_REDIS_URL": redis_url}
    job = fiqa("submit", photos, "--name", "n", environment=environment).stdout.strip()
    status = json.loads(fiqa("status", job, "--json", environment=environment).stdout)
    assert {
        "id", "name", "state", "images", "scored", "no_face", "failed", "faces", "chunks", "chunks_done",
        "images_per_s", "eta_s", "created", "started", "finished", "reason",
    } <= set(status)  # fmt: skip
    assert (status["id"], status["name"], status["state"], status["images"]) == (job, "n", "running", 33)
