from __future__ import annotations

from pathlib import Path

import pytest

from fiqa_worker.cli.extras import own_settings
from fiqa_worker.local.environment import environment_of
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


def test_the_worker_process_reads_the_same_settings_from_its_environment(
    chosen: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen != WorkerSettings.load()
    for name, value in environment_of(chosen).items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings.load() == chosen
