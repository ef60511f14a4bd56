"""A worker opens only the storages that its settings allow. A forged job id never becomes a path."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from fiqa.ledger.ledger import Ledger
from fiqa_worker.errors import SourceUnavailable
from fiqa_worker.service.storages import Storages
from fiqa_worker.settings import WorkerSettings
from tests.dead_folder import dead, needs_fuse
from tests.keys import DUE, ENDED, LEASES, job_key
from tests.producer.ledger.ledger_jobs import claimed, create, opened
from tests.waiting import WAIT_S


def test_only_allowed_storages_are_opened(ledger: Ledger, tmp_path: Path) -> None:
    own = str(tmp_path / "own")
    storages = Storages(WorkerSettings(storage=own), ledger.connection)
    for url in (own, f"{own}/", f"{own}/below", f"file://{own}", "redis", f"{own}/../own"):
        storages.open(url)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(tmp_path)
    for url in ("/", str(tmp_path), f"{own}-other", f"{own}/../other", f"{own}/link/other", "s3://bucket", "ftp://x"):
        with pytest.raises(SourceUnavailable, match="FIQA_ALLOWED_STORAGES"):
            storages.open(url)


@pytest.mark.usefixtures("s3_env")
def test_storages_are_allowed_by_their_beginning_and_few_are_kept(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIQA_ALLOWED_STORAGES", f"s3://bucket/team, {tmp_path}")
    storages = Storages(WorkerSettings.load(), ledger.connection)
    assert storages.open("s3://bucket/team/a").url == "s3://bucket/team/a"
    for url in ("s3://bucket", "s3://bucket/team2", "s3://bucket/team/../other", "s3://other/team", "redis"):
        with pytest.raises(SourceUnavailable):
            storages.open(url)
    first = storages.open(str(tmp_path))
    assert storages.open(str(tmp_path)) is first
    for number in range(16):
        storages.open(str(tmp_path / str(number)))
    assert storages.open(str(tmp_path)) is not first


def test_without_both_settings_only_redis_is_opened(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIQA_STORAGE", raising=False)
    monkeypatch.delenv("FIQA_ALLOWED_STORAGES", raising=False)
    storages = Storages(WorkerSettings.load(), ledger.connection)
    assert storages.open("redis").url == "redis"
    for url in (str(tmp_path), "s3://bucket"):
        with pytest.raises(SourceUnavailable, match="set FIQA_STORAGE to it or add it to FIQA_ALLOWED_STORAGES"):
            storages.open(url)


@needs_fuse
def test_a_share_that_does_not_answer_holds_up_no_other_storage(ledger: Ledger, tmp_path: Path) -> None:
    share, other = str(tmp_path / "share" / "jobs"), str(tmp_path / "other")
    settings = WorkerSettings(allowed_storages=(share, other, "redis"))
    opened: list[str] = []

    def start_and_open() -> None:
        storages = Storages(settings, ledger.connection)
        opened.extend(storages.open(url).url for url in ("redis", other))

    with dead(tmp_path / "share"):
        thread = Thread(target=start_and_open, daemon=True)
        thread.start()
        thread.join(WAIT_S)
        assert opened == ["redis", other]


@pytest.mark.parametrize("forged", ["../../x", "/etc/x", "20260101-000000-abcdef/../../x", "", "a" * 5000, "\n"])
def test_a_job_with_a_forged_id_is_dropped_and_others_are_served(ledger: Ledger, forged: str) -> None:
    job_id = opened(ledger, chunks=1)
    redis = ledger.connection.redis
    real = redis.hgetall(job_key(job_id))
    redis.hset(job_key(forged), mapping=real)
    redis.zadd(DUE, {forged: 0})
    redis.zadd(ENDED, {forged: 0})
    assert claimed(ledger).job_id == job_id
    assert ledger.take_summary() is None
    assert redis.zscore(DUE, forged) is None
    assert redis.zcard(LEASES) == 1
    assert redis.zcard(ENDED) == 0
    create(ledger)
