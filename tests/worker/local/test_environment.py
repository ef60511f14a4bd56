from __future__ import annotations

import pytest

from fiqa_worker.local.environment import environment_of
from fiqa_worker.settings import WorkerSettings


def test_the_worker_process_reads_the_same_settings_from_its_environment(
    chosen: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen != WorkerSettings.load()
    for name, value in environment_of(chosen).items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings.load() == chosen
