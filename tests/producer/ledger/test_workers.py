"""The registry of workers."""

from __future__ import annotations

import json
from dataclasses import replace

from fiqa.ledger.ledger import Ledger
from tests.keys import FINGERPRINTS, WORKERS, worker_key
from tests.producer.ledger.ledger_jobs import beat
from tests.waiting import wait_until


def test_a_worker_is_listed_with_its_facts_and_its_last_heartbeat(ledger: Ledger) -> None:
    started = ledger.connection.now()
    sent = beat(ledger, version="1", detector="d@1", allowed_sources=("s3://a", "file:///b"), processes=4, started=5.5)
    (found,) = ledger.workers.all()
    # A heartbeat is kept in milliseconds, rounded: it may lie after a moment of the same millisecond.
    assert round(started, 3) <= found.heartbeat <= round(ledger.connection.now(), 3)
    assert replace(found, heartbeat=0.0) == sent


def test_workers_are_in_the_order_of_hosts_and_process_ids(ledger: Ledger) -> None:
    for worker in ("b:2:0", "a:10:0", "b:1:0", "a:9:0"):
        beat(ledger, worker)
    assert [worker.id for worker in ledger.workers.all()] == ["a:9:0", "a:10:0", "b:1:0", "b:2:0"]


def test_more_workers_than_a_page_are_all_listed(ledger: Ledger) -> None:
    for number in range(250):
        beat(ledger, f"host:{number}:0")
    assert len(ledger.workers.all()) == 250


def test_a_worker_without_heartbeats_is_dropped_at_the_heartbeat_of_another(ledger: Ledger) -> None:
    beat(ledger, "dead:1:0", seconds=0.01, fingerprint="old")
    wait_until(lambda: not ledger.connection.redis.exists(worker_key("dead:1:0")))
    assert ledger.workers.all() == []
    beat(ledger, "one:1:0", fingerprint="new")
    assert ledger.connection.redis.zrange(WORKERS, 0, -1) == [b"one:1:0"]
    assert ledger.connection.redis.zrange(FINGERPRINTS, 0, -1) == [b"new"]


def test_a_heartbeat_from_before_the_clock_was_set_back_is_dropped_too(ledger: Ledger) -> None:
    ledger.connection.redis.zadd(WORKERS, {"dead:1:0": ledger.connection.now() + 3600})
    beat(ledger)
    assert ledger.connection.redis.zrange(WORKERS, 0, -1) == [b"one:1:0"]


def test_a_full_redis_takes_heartbeats(ledger: Ledger) -> None:
    beat(ledger, "one:1:0")
    ledger.connection.redis.config_set("maxmemory", 1)
    try:
        beat(ledger, "two:1:0")
        assert len(ledger.workers.all()) == 2
    finally:
        ledger.connection.redis.config_set("maxmemory", 0)


def test_a_worker_that_leaves_is_not_listed(ledger: Ledger) -> None:
    beat(ledger)
    ledger.workers.leave("one:1:0")
    assert ledger.workers.all() == []
    assert not ledger.connection.redis.exists(worker_key("one:1:0"))


def test_a_problem_is_shown_until_it_is_withdrawn(ledger: Ledger) -> None:
    beat(ledger)
    ledger.workers.report("one:1:0", "s3://a", "no credentials")
    ledger.workers.report("one:1:0", "file:///b", "is empty")
    (worker,) = ledger.workers.all()
    assert worker.problems == {"s3://a": "no credentials", "file:///b": "is empty"}
    beat(ledger)
    ledger.workers.withdraw("one:1:0", "s3://a")
    (worker,) = ledger.workers.all()
    assert worker.problems == {"file:///b": "is empty"}


def test_a_problem_that_nobody_repeats_is_not_shown_for_long(ledger: Ledger) -> None:
    beat(ledger)
    ledger.workers.report("one:1:0", "s3://a", "no credentials")
    problem = json.dumps({"until": ledger.connection.now() - 1, "line": "no credentials"})
    ledger.connection.redis.hset(worker_key("one:1:0"), "problem:s3://a", problem)
    (worker,) = ledger.workers.all()
    assert worker.problems == {}


def test_a_worker_that_is_gone_reports_nothing(ledger: Ledger) -> None:
    ledger.workers.report("dead:1:0", "s3://a", "no credentials")
    assert ledger.connection.redis.keys() == []


def test_facts_of_another_version_are_read_as_far_as_they_are_known(ledger: Ledger) -> None:
    beat(ledger)
    facts = json.dumps({"host": "one", "pid": 1, "color": "red"})
    ledger.connection.redis.hset(worker_key("one:1:0"), "facts", facts)
    (worker,) = ledger.workers.all()
    assert (worker.host, worker.version, worker.processes) == ("one", "", 0)
