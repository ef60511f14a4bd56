"""A worker whose models give other values than they should, as a real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa import Client
from tests.integration.conftest import StartWorker
from tests.waiting import WAIT_S, wait_until


@pytest.fixture
def expecting(tmp_path: Path) -> str:
    """A folder for PYTHONPATH, so that processes expect another value of the quality model. Returns it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "from fiqa_worker.pipeline import self_test\n"
        "published = os.environ['PUBLISHED'] == 'yes'\n"
        "self_test._KNOWN['builtin_quality'] = self_test._Known(0.5160775, measured_here=not published)\n"
    )
    return str(tmp_path)


def test_a_value_that_differs_from_the_published_one_is_in_the_log_and_in_the_list_of_workers(
    expecting: str, redis_url: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    health = tmp_path / "health"
    worker = start_worker(PYTHONPATH=expecting, PUBLISHED="yes", FIQA_HEALTH_DIR=health)
    with Client(redis_url) as client:
        wait_until((health / "ready").exists, lambda: worker.log)
        (status,) = client.workers()
    assert status.self_test.verdict == "differs"
    assert round(status.self_test.quality, 4) == 0.3098
    assert "expected 0.51608, which is published" in status.self_test.warning
    (line,) = [line for line in worker.log.splitlines() if "which is published" in line]
    assert " ERROR " in line


def test_a_worker_with_a_value_that_cannot_be_right_does_not_start(expecting: str, start_worker: StartWorker) -> None:
    worker = start_worker(PYTHONPATH=expecting, PUBLISHED="no")
    assert worker.process.wait(WAIT_S) == 2
    (line,) = worker.log.splitlines()
    assert line.startswith("fiqa: self-test: builtin_quality@")
    assert "expected 0.51608: install another version of onnxruntime" in line
