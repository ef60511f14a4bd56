"""What the files `alive` and `ready` tell, on a real Redis; Celery's part is played by the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fiqa.contract import QUEUE
from fiqa.ledger.ledger import Ledger
from fiqa_worker.service import health
from fiqa_worker.service.health import Health, note_loaded
from tests.servers import start_redis
from tests.waiting import wait_until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes a hundred times as fast."""
    for name in ("LOOKS_EVERY_S", "CONNECTED_S", "STUCK_S"):
        monkeypatch.setattr(health, name, getattr(health, name) / 100)


@pytest.fixture
def watched(ledger: Ledger, tmp_path: Path, quick: None) -> Iterator[Health]:  # noqa: ARG001  before it starts
    watched = started(tmp_path, ledger)
    yield watched
    watched.stop()
    watched.join()


def started(folder: Path, ledger: Ledger) -> Health:
    """The health of a worker whose one child is this process, and has loaded its models."""
    worker = SimpleNamespace(pool=SimpleNamespace(info={"processes": [os.getpid()]}))
    health = Health(folder, ledger, worker)
    note_loaded(folder)
    health.start()
    return health


def test_a_consumer_that_takes_none_of_the_tickets_that_wait_is_not_alive(
    watched: Health, ledger: Ledger, tmp_path: Path
) -> None:
    def is_touched() -> bool:
        watched.tick()
        return touched_anew(tmp_path / "alive")

    wait_until(is_touched)
    ledger.connection.redis.rpush(QUEUE, b"a ticket")
    wait_until(lambda: not is_touched())
    ledger.connection.redis.delete(QUEUE)
    wait_until(is_touched)


def test_an_event_loop_that_stands_still_is_first_not_ready_and_then_not_alive(watched: Health, tmp_path: Path) -> None:
    tick_until(watched, (tmp_path / "ready").exists)
    wait_until(lambda: not (tmp_path / "ready").exists())
    wait_until(lambda: not touched_anew(tmp_path / "alive"))


@pytest.mark.usefixtures("quick")
def test_a_worker_whose_redis_is_away_is_alive_and_not_ready(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server:
        ledger = Ledger(server.url)
        watched = started(tmp_path, ledger)
        tick_until(watched, (tmp_path / "ready").exists)
    try:
        wait_until(lambda: not (tmp_path / "ready").exists())
        time.sleep(2 * health.STUCK_S)
        os.utime(tmp_path / "alive", (0, 0))
        wait_until(lambda: (tmp_path / "alive").stat().st_mtime > 0)
        watched.tick()
        assert not (tmp_path / "ready").exists()
    finally:
        watched.stop()
        watched.join()
        ledger.close()


def test_a_worker_is_not_ready_before_a_child_has_its_models_nor_when_it_drains(
    watched: Health, tmp_path: Path
) -> None:
    (tmp_path / f"loaded-{os.getpid()}").unlink()
    note_of_another = tmp_path / "loaded-1"
    note_of_another.touch()
    tick_until(watched, lambda: touched_anew(tmp_path / "alive"))
    assert not (tmp_path / "ready").exists()
    assert not note_of_another.exists()
    note_loaded(tmp_path)
    tick_until(watched, (tmp_path / "ready").exists)
    watched.drain()
    wait_until(lambda: not (tmp_path / "ready").exists())  # a look that had begun touches it once more and removes it
    tick_until(watched, lambda: touched_anew(tmp_path / "alive"))
    assert not (tmp_path / "ready").exists()


def test_what_a_killed_worker_left_behind_does_not_count(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("ready", "loaded-7"):
        (tmp_path / name).touch()
    Health(tmp_path, ledger, SimpleNamespace())
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]


def touched_anew(path: Path) -> bool:
    """Whether the file's time, set back here, is a new one a moment later."""
    os.utime(path, (0, 0))
    time.sleep(10 * health.LOOKS_EVERY_S)
    return path.stat().st_mtime > 0


def tick_until(watched: Health, condition: Callable[[], object]) -> None:
    """One tick may be older than what counts as connected before anybody looks."""

    def ticked() -> object:
        watched.tick()
        return condition()

    wait_until(ticked)
