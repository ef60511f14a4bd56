"""A ledger that the commands use, a folder of image files, and a job whose results are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.contract import ErrorCode
from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import submitted
from tests.producer.faceless import failed, work


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


@pytest.fixture
def job(ledger: Ledger, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a job of 20 images whose second shard, of four, is gone."""
    monkeypatch.setenv("FIQA_STORAGE", str(tmp_path / "storage"))
    job_id = submitted(images)
    work(ledger, end=lambda item: failed(item, ErrorCode.FETCH_FAILED))
    (tmp_path / "storage" / "jobs" / job_id / "results" / "00000001.jsonl.gz").unlink()
    return job_id
