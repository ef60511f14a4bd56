from __future__ import annotations

from pathlib import Path

import pytest

from fiqa_worker.demo.photos import make_photos
from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import open_session
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.settings import Device


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    model = find("builtin_detector", "detector", "")
    session = open_session(prepare(model, tmp_path_factory.mktemp("cache")), Device.CPU)
    return Detector(session, threshold=model.threshold)
