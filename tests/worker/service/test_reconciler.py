from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.broker import make_app, publish_tickets
from fiqa.contract import JobSpec
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.keys import RECONCILER_LOCK
from fiqa.ledger.ledger import Ledger
from fiqa_worker.service.reconciler import Reconciler
from tests.worker.service.conftest import StoppableRedis
from tests.worker.service.stepped import Over, nothing, rounds


def opened(ledger: Ledger, *, chunks: int, storage: str = "redis") -> str:
    """Return the id of a job that runs."""
    job_id = new_job_id()
    submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage=storage)
    ledger.open(job_id, submission, chunks=chunks, images=chunks)
    return job_id


def reconcile(ledger: Ledger, url: str, *actions: Callable[[], object]) -> None:
    """Run one round after each action."""
    with make_app(url) as app, pytest.raises(Over):
        Reconciler(ledger, lambda: publish_tickets(app, ledger), sleep=rounds(*actions)).run()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_round_tops_up_the_tickets(ledger: Ledger, redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    opened(ledger, chunks=3)
    reconcile(ledger, redis_url, nothing)
    assert ledger.waiting_tickets() == 3
    assert "topped up 3 tickets" in caplog.messages


def test_one_process_at_a_time_reconciles(ledger: Ledger, redis_url: str) -> None:
    opened(ledger, chunks=3)
    assert ledger.try_reconciler_lock(seconds=4.4)

    def lock_expires() -> None:
        assert ledger.waiting_tickets() == 0
        ledger.connection.redis.delete(RECONCILER_LOCK)

    reconcile(ledger, redis_url, nothing, lock_expires)
    assert ledger.waiting_tickets() == 3


def test_the_lock_is_free_again_before_the_next_round_of_the_same_process(ledger: Ledger, redis_url: str) -> None:
    reconcile(ledger, redis_url, nothing)
    assert 0 < ledger.connection.redis.pttl(RECONCILER_LOCK) < 5000


def test_a_round_writes_the_summary_of_a_job_that_has_ended(ledger: Ledger, redis_url: str, tmp_path: Path) -> None:
    job_id = opened(ledger, chunks=1, storage=str(tmp_path))
    folder = tmp_path / "jobs" / job_id
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(b"{}")
    ledger.control(job_id, Control.CANCEL)
    reconcile(ledger, redis_url, nothing)
    assert (folder / "summary.json").exists()
    assert ledger.ended() == []


def test_an_error_that_lasts_is_logged_once_and_one_that_comes_back_again(
    stoppable_redis: StoppableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Ledger(stoppable_redis.url)) as ledger:
        reconcile(
            ledger, stoppable_redis.url, stoppable_redis.stop, nothing, stoppable_redis.start, stoppable_redis.stop
        )
    found = warnings(caplog)
    assert len(found) == 2
    assert all(line.startswith("reconciler failed, retrying: cannot reach Redis") for line in found)


def test_a_storage_that_cannot_be_written_keeps_no_ticket_back(
    ledger: Ledger, redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = tmp_path / "a file"
    storage.touch()
    ended = opened(ledger, chunks=1, storage=str(storage))
    ledger.control(ended, Control.CANCEL)
    opened(ledger, chunks=2)
    reconcile(ledger, redis_url, nothing)
    assert ledger.waiting_tickets() == 2
    assert ledger.ended() == [ended]
    assert len(warnings(caplog)) == 1
