"""The task as Celery calls it, in a fresh process, since the module reads the settings when it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fiqa import Client, JobState
from fiqa_worker.demo.photos import make_photos

RUN_ONE_TICKET = (
    "import logging; logging.basicConfig(); from fiqa_worker.service.tasks import score_chunk; score_chunk()"
)


def python(code: str, **environment: str) -> str:
    """Run Python code in a new process. Return what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_ticket_scores_one_chunk(redis_url: str, tmp_path: Path) -> None:
    photo = make_photos(tmp_path / "photos")[0]
    storage = str(tmp_path / "storage")
    with Client(redis_url, storage) as client:
        job = client.submit([photo.as_uri()] * 4, chunk_size=2)
        log = python(RUN_ONE_TICKET, FIQA_REDIS_URL=redis_url, FIQA_STORAGE=storage, FIQA_ALLOWED_SOURCES="file:///")
        assert client.status(job.id).chunks_done == 1, log
        assert client.status(job.id).state is JobState.RUNNING


def test_a_ticket_without_a_job_does_nothing(redis_url: str) -> None:
    assert python(RUN_ONE_TICKET, FIQA_REDIS_URL=redis_url) == ""


def test_a_ticket_ends_without_an_error_if_redis_is_unavailable() -> None:
    log = python(RUN_ONE_TICKET, FIQA_REDIS_URL="redis://127.0.0.1:1/0")
    assert "Redis is unavailable, retrying: cannot reach Redis at redis://127.0.0.1:1/0" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("module", ["tasks", "model_check"])
def test_what_the_main_process_imports_loads_neither_opencv_nor_onnxruntime(module: str) -> None:
    code = f"import fiqa_worker.service.{module}, sys; print(*sys.modules)"
    loaded = set(python(code).split())
    assert not loaded & {"cv2", "numpy", "onnx", "onnxruntime", "obstore"}
