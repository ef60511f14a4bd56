from __future__ import annotations

import pytest

from tests.fiqa_process import BUILTIN, Fiqa, one_line


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
