from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.broker import publish_tickets
from fiqa.contract import JobSpec
from fiqa.ledger.claims import Counts
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import SUMMARY_TRIES
from fiqa.storage.directory import DirectoryStorage
from fiqa.storage.layout import Document
from fiqa.storage.storage import Storage, open_storage
from fiqa_worker.service.reconciler import Reconciler, Summaries, SummaryWriter
from tests.dead_folder import dead, needs_fuse
from tests.keys import ENDED, RECONCILER_LOCK
from tests.waiting import wait_until
from tests.worker.service.conftest import StoppableRedis
from tests.worker.service.stepped import Over, nothing, rounds


def opened(ledger: Ledger, *, chunks: int, storage: str = "redis") -> str:
    """Return the id of a job that runs."""
    job_id = new_job_id()
    submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage=storage)
    ledger.open(job_id, submission, chunks=chunks, images=chunks)
    return job_id


def reconcile(ledger: Ledger, *actions: Callable[[], object]) -> None:
    """Run one round after each action."""
    with pytest.raises(Over):
        Reconciler(ledger, lambda: publish_tickets(ledger), sleep=rounds(*actions)).run()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_round_tops_up_the_tickets(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    opened(ledger, chunks=3)
    reconcile(ledger, nothing)
    assert ledger.waiting_tickets() == 3
    assert "topped up 3 tickets" in caplog.messages


def test_one_process_at_a_time_reconciles(ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    assert ledger.try_reconciler_lock(seconds=4.4)

    def lock_expires() -> None:
        assert ledger.waiting_tickets() == 0
        ledger.connection.redis.delete(RECONCILER_LOCK)

    reconcile(ledger, nothing, lock_expires)
    assert ledger.waiting_tickets() == 3


def test_the_lock_is_free_again_before_the_next_round_of_the_same_process(ledger: Ledger) -> None:
    reconcile(ledger, nothing)
    assert 0 < ledger.connection.redis.pttl(RECONCILER_LOCK) < 5000


def summarize(ledger: Ledger, *actions: Callable[[], object], limit_s: float = 60.0) -> None:
    """Run one round of Summaries after each action."""

    def open_it(url: str) -> Storage:
        return open_storage(url, ledger.connection)

    with pytest.raises(Over):
        Summaries(ledger, open_it, limit_s=limit_s, sleep=rounds(*actions)).run()


def finished(ledger: Ledger, storage: Path) -> tuple[str, Path]:
    """Return the id of a cancelled job and the place of its summary."""
    job_id = opened(ledger, chunks=1, storage=str(storage))
    folder = storage / "jobs" / job_id
    if storage.is_dir():
        folder.mkdir(parents=True)
        (folder / "job.json").write_bytes(b"{}")
    ledger.control(job_id, Control.CANCEL)
    return job_id, folder / "summary.json"


def test_a_round_writes_the_summary_of_a_job_that_has_ended(ledger: Ledger, tmp_path: Path) -> None:
    _, summary = finished(ledger, tmp_path)
    summarize(ledger, nothing)
    assert summary.exists()
    assert ledger.ended() == []


def test_a_summary_that_fails_is_tried_with_growing_pauses_and_given_up_with_a_reason(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = tmp_path / "a file"
    storage.touch()
    job_id, _ = finished(ledger, storage)
    waits = []
    for _ in range(SUMMARY_TRIES):
        summarize(ledger, nothing, nothing)  # the second round does nothing
        waits.append(ledger.connection.redis.zscore(ENDED, job_id) - ledger.connection.now())
        ledger.connection.redis.zadd(ENDED, {job_id: 0})
    assert [round(wait, -1) for wait in waits[:5]] == [10, 20, 40, 80, 160]
    assert 3500 < waits[-1] <= 3600
    assert len(warnings(caplog)) == SUMMARY_TRIES
    error = ledger.status(job_id).last_error
    assert str(error).startswith("summary.json is not written: cannot write")
    summarize(ledger, nothing)
    assert ledger.ended() == []
    assert ledger.status(job_id).last_error == f"given up: {error}"


def test_a_summary_that_is_written_removes_its_error_from_the_status(ledger: Ledger, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.touch()
    job_id, summary = finished(ledger, storage)
    summarize(ledger, nothing)
    storage.unlink()
    summary.parent.mkdir(parents=True)
    (summary.parent / "job.json").write_bytes(b"{}")
    ledger.connection.redis.zadd(ENDED, {job_id: 0})
    summarize(ledger, nothing)
    assert summary.exists()
    assert ledger.status(job_id).last_error is None


def test_only_one_of_many_processes_writes_each_summary(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = DirectoryStorage.write_document

    def write(self: DirectoryStorage, job_id: str, name: Document, data: bytes) -> None:
        written.append(job_id)
        real(self, job_id, name, data)

    monkeypatch.setattr(DirectoryStorage, "write_document", write)
    jobs = sorted(finished(ledger, tmp_path)[0] for _ in range(20))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: summarize(ledger, nothing), range(8)))
    assert sorted(written) == jobs


def test_the_process_that_finishes_a_job_writes_only_its_summary(ledger: Ledger, tmp_path: Path) -> None:
    gone = tmp_path / "a file"
    gone.touch()
    others = {finished(ledger, gone)[0] for _ in range(100)}
    job_id = opened(ledger, chunks=1, storage=str(tmp_path))
    folder = tmp_path / "jobs" / job_id
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(b"{}")
    assert ledger.claim()
    ledger.complete(job_id, 0, Counts.of([]))
    assert ledger.take_summary() in others  # for a while, the job's own summary is left to the process that finished it
    SummaryWriter(ledger, lambda url: open_storage(url, ledger.connection)).write(job_id)
    wait_until(lambda: (folder / "summary.json").exists() and job_id not in ledger.ended())
    assert len(ledger.ended()) == 100


def test_an_error_that_lasts_is_logged_once_and_one_that_comes_back_again(
    stoppable_redis: StoppableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Ledger(stoppable_redis.url)) as ledger:
        reconcile(ledger, stoppable_redis.stop, nothing, stoppable_redis.start, stoppable_redis.stop)
    found = warnings(caplog)
    assert len(found) == 2
    assert all(line.startswith("reconciler failed, retrying: cannot reach Redis") for line in found)


@needs_fuse
def test_a_storage_that_never_answers_delays_no_other_summary(ledger: Ledger, tmp_path: Path) -> None:
    with dead(tmp_path / "dead") as folder:
        job_id = opened(ledger, chunks=1, storage=str(folder))
        ledger.control(job_id, Control.CANCEL)
        (tmp_path / "healthy").mkdir()
        _, summary = finished(ledger, tmp_path / "healthy")
        summarize(ledger, nothing, limit_s=1.0)
        assert summary.exists()
        assert str(ledger.status(job_id).last_error).endswith("the storage has not answered for 1 s")
