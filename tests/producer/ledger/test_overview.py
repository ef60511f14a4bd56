from __future__ import annotations

import json

import pytest

from fiqa.contract import Priority
from fiqa.ledger import overview
from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.overview import Overview, read_overview
from tests.keys import EXPIRED, JOBS, OVERVIEW, job_key
from tests.producer.ledger.ledger_jobs import beat, claimed, complete, create, expire_leases, opened, scored


def fresh(ledger: Ledger) -> Overview:
    """Read all figures again."""
    ledger.connection.redis.delete(OVERVIEW)
    return read_overview(ledger.connection)


def test_an_empty_ledger_has_all_figures_and_they_are_zero(ledger: Ledger) -> None:
    found = fresh(ledger)
    assert found.jobs == dict.fromkeys(("preparing", "running", "paused", "succeeded", "cancelled", "failed"), 0)
    assert found.images_left == {"high": 0, "normal": 0, "low": 0}
    assert (found.chunks_unclaimed, found.tickets, found.leases, found.leases_expired, found.workers) == (0,) * 5
    assert found.oldest_queued_s == 0


def test_the_figures_are_those_of_all_jobs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_PAGE", 2)
    opened(ledger, chunks=3, priority=Priority.HIGH)
    complete(ledger, claimed(ledger), scored(10))
    claimed(ledger)
    create(ledger)
    paused = opened(ledger, chunks=5)
    ledger.control(paused, Control.PAUSE)
    ledger.control(opened(ledger), Control.CANCEL)
    waiting = opened(ledger, chunks=2, priority=Priority.LOW)
    ledger.connection.redis.hset(job_key(waiting), "created", ledger.connection.now() - 100)
    ledger.add_tickets(["a", "b"])
    beat(ledger)

    found = fresh(ledger)
    assert {state: number for state, number in found.jobs.items() if number} == {
        "preparing": 1,
        "running": 2,
        "paused": 1,
        "cancelled": 1,
    }
    assert found.images_left == {"high": 20, "normal": 0, "low": 20}
    assert (found.chunks_unclaimed, found.tickets, found.leases, found.workers) == (3, 2, 1, 1)
    assert 100 <= found.oldest_queued_s < 200


def test_leases_that_expire_are_counted(ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    for _ in range(2):
        claimed(ledger)
    expire_leases(ledger)
    claimed(ledger)
    assert int(ledger.connection.redis.get(EXPIRED)) == 2
    assert fresh(ledger).leases_expired == 2


def test_one_worker_reads_for_all_until_the_figures_are_old(ledger: Ledger) -> None:
    before = fresh(ledger)
    opened(ledger)
    assert read_overview(ledger.connection) == before
    assert 0 < ledger.connection.redis.pttl(OVERVIEW) <= 10_000
    assert fresh(ledger).jobs["running"] == 1


def test_figures_of_another_version_are_read_again(ledger: Ledger) -> None:
    ledger.connection.redis.set(OVERVIEW, json.dumps({"novel": 1}))
    assert read_overview(ledger.connection) == fresh(ledger)


def test_states_of_a_newer_version_and_jobs_that_expired_are_not_counted(ledger: Ledger) -> None:
    ledger.connection.redis.hset(job_key(opened(ledger)), "state", "new_state")
    ledger.connection.redis.zadd(JOBS, {"gone": 1})
    found = fresh(ledger)
    assert not any(found.jobs.values())
    assert set(found.jobs) == {"preparing", "running", "paused", "succeeded", "cancelled", "failed"}
