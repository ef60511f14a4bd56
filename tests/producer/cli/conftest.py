"""A ledger that the commands use, and a folder of image files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.ledger.ledger import Ledger


@pytest.fixture
def ledger(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Return Redis as a worker sees it; the environment leads the commands to it."""
    monkeypatch.setenv("FIQA_REDIS_URL", redis_url)
    monkeypatch.setenv("FIQA_STORAGE", "redis")
    with closing(Ledger(redis_url)) as ledger:
        yield ledger


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with 20 empty .jpg files."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.jpg").touch()
    return folder
