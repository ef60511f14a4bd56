"""Settings as a command chooses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa_worker.cli.extras import own_settings
from fiqa_worker.models.locate import find
from fiqa_worker.settings import WorkerSettings


@pytest.fixture
def chosen(tmp_path: Path) -> WorkerSettings:
    """The settings of a command whose quality model was given by path."""
    quality = find("builtin_quality", "quality", str(tmp_path))
    copy = tmp_path / "mine.onnx"
    copy.write_bytes(quality.path.read_bytes())
    return own_settings(
        WorkerSettings.load(),
        find("builtin_detector", "detector", str(tmp_path)),
        find(str(copy), "quality", str(tmp_path)),
    )
