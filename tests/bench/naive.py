"""The naive worker: one Celery task an image, boto3, the published model in onnxruntime, results in Redis.

Start it with `celery -A tests.bench.naive worker`. It reads BENCH_REDIS_URL, BENCH_DETECTOR and BENCH_QUALITY.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
import cv2
import numpy as np
from celery import Celery

from tests.bench.reference import Faces, blob, published, run

TASK: Final = "naive.score"


def make_app(url: str) -> Celery:
    """Make a Celery app with its defaults, and Redis as broker and result backend."""
    return Celery("naive", broker=url, backend=url)


app = make_app(os.environ.get("BENCH_REDIS_URL", "redis://localhost:6379/0"))


@app.task(name=TASK)
def score(bucket: str, key: str) -> dict[str, Any]:
    """Return the quality of each face of one object. `started` and `finished` are Unix seconds."""
    started = time.time()
    data = _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"OpenCV cannot decode {key}")
    detector, quality = _models()
    scores = [float(np.squeeze(run(quality, blob(crop))[0])) for crop in detector.crops(pixels)]
    return {"key": key, "scores": scores, "started": started, "finished": time.time()}


@cache
def _s3() -> Any:
    return boto3.client("s3")


@cache
def _models() -> tuple[Faces, Any]:
    cv2.setNumThreads(1)
    return Faces(Path(os.environ["BENCH_DETECTOR"])), published(Path(os.environ["BENCH_QUALITY"]))
