"""What the files `alive` and `ready` show, on a real Redis; the test does what Celery does, and steps the clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from fiqa.ledger.ledger import Ledger
from fiqa_worker.service.health import CONNECTED_S, LOOKS_EVERY_S, STUCK_S, Health, mark_loaded
from tests.keys import QUEUE
from tests.worker.service.conftest import StoppableRedis
from tests.worker.service.stepped import SteppedClock


class Watched:
    """The health of a worker whose one child is this process, which has loaded its models."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.clock = SteppedClock()
        self._folder = folder
        worker = SimpleNamespace(pool=SimpleNamespace(info={"processes": [os.getpid()]}))
        self.health = Health(folder, ledger, worker, clock=self.clock, wait=self.clock.wait)
        mark_loaded(folder)
        self.health.start()

    def look(self) -> None:
        """Let the thread look once while the event loop stands still."""
        self.clock.step()

    def pass_s(self, seconds: float, *, ticks: bool = True) -> None:
        """Let time pass, in which the event loop ticks or stands still."""
        for _ in range(round(seconds / LOOKS_EVERY_S)):
            if ticks:
                self.health.tick()
            self.look()

    def is_alive(self, **options: bool) -> bool:
        """Whether `alive` is touched in the next look."""
        os.utime(self._folder / "alive", (0, 0))
        self.pass_s(LOOKS_EVERY_S, **options)
        return (self._folder / "alive").stat().st_mtime > 0

    def is_ready(self, **options: bool) -> bool:
        """Whether there is a `ready` after the next look."""
        self.pass_s(LOOKS_EVERY_S, **options)
        return (self._folder / "ready").exists()

    def last_s(self, holds: Callable[..., bool], **options: bool) -> float:
        """Return for how many seconds a condition holds from now on."""
        started = self.clock.now
        while holds(**options):
            assert self.clock.now - started < 10 * STUCK_S
        return self.clock.now - started


@contextmanager
def watch(folder: Path, ledger: Ledger) -> Iterator[Watched]:
    watched = Watched(folder, ledger)
    yield watched
    watched.health.stop()
    watched.health.join()


@pytest.fixture
def watched(ledger: Ledger, tmp_path: Path) -> Iterator[Watched]:
    with watch(tmp_path, ledger) as watched:
        yield watched


def test_a_worker_that_is_idle_stays_alive_and_ready(watched: Watched) -> None:
    watched.pass_s(3 * STUCK_S)
    assert watched.is_alive()
    assert watched.is_ready()


def test_a_consumer_that_takes_no_waiting_ticket_is_not_alive(watched: Watched, ledger: Ledger) -> None:
    assert watched.is_alive()
    ledger.connection.redis.rpush(QUEUE, b"a ticket")
    assert watched.last_s(watched.is_alive) == STUCK_S
    ledger.connection.redis.delete(QUEUE)
    assert watched.is_alive()


def test_an_event_loop_that_stands_still_is_first_not_ready_and_then_not_alive(watched: Watched) -> None:
    assert watched.is_ready()
    since = watched.clock.now
    assert watched.last_s(watched.is_ready, ticks=False) == CONNECTED_S - LOOKS_EVERY_S
    watched.last_s(watched.is_alive, ticks=False)
    assert watched.clock.now - since == STUCK_S - LOOKS_EVERY_S
    assert watched.is_alive()
    assert watched.is_ready()


def test_a_worker_whose_redis_is_away_is_alive_and_not_ready(stoppable_redis: StoppableRedis, tmp_path: Path) -> None:
    health = tmp_path / "health"
    with closing(Ledger(stoppable_redis.url)) as ledger, watch(health, ledger) as watched:
        assert watched.is_ready()
        stoppable_redis.stop()
        assert not watched.is_ready()
        watched.health.tick()
        assert not (health / "ready").exists()
        watched.clock.now += 2 * STUCK_S  # the event loop does not run while Celery reconnects
        assert watched.is_alive(ticks=False)
        stoppable_redis.start()
        # The event loop and the consumer have the full time again.
        assert watched.last_s(watched.is_alive, ticks=False) == STUCK_S


def test_a_worker_is_not_ready_before_a_child_has_its_models_nor_when_it_drains(
    watched: Watched, tmp_path: Path
) -> None:
    (tmp_path / f"loaded-{os.getpid()}").unlink()
    mark_of_another = tmp_path / "loaded-1"
    mark_of_another.touch()
    assert watched.is_alive()
    assert not watched.is_ready()
    assert not mark_of_another.exists()
    mark_loaded(tmp_path)
    assert watched.is_ready()
    watched.health.drain()
    assert not (tmp_path / "ready").exists()
    assert watched.is_alive()
    assert not watched.is_ready()


def test_a_worker_that_takes_long_to_load_its_models_is_alive(watched: Watched, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / f"loaded-{os.getpid()}").unlink()
    ledger.connection.redis.rpush(QUEUE, b"a ticket")
    watched.pass_s(3 * STUCK_S)
    assert watched.is_alive()


def test_a_folder_that_cannot_be_written_is_logged(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    watched.look()
    assert f"FIQA_HEALTH_DIR: cannot write {tmp_path}/alive: No such file or directory" in caplog.messages
    tmp_path.mkdir()
    mark_loaded(tmp_path)
    assert watched.is_ready()


def test_files_that_a_killed_worker_left_do_not_count(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("ready", "loaded-7"):
        (tmp_path / name).touch()
    Health(tmp_path, ledger, SimpleNamespace())
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]
