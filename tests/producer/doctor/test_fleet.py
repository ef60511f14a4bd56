"""Findings about the workers of a real Redis."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fiqa.contract import SelfTest
from fiqa.doctor.findings import State
from fiqa.doctor.fleet import check_jobs, check_workers
from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.doctor.looking import one
from tests.producer.ledger.ledger_jobs import beat, opened
from tests.servers import free_ports

GOOD: dict[str, Any] = {"fingerprint": "abcd", "version": version("fiqa"), "processes": 2}


def warnings(redis_url: str) -> list[str]:
    found = list(check_workers(redis_url))
    assert {finding.state for finding in found} == {State.WARNING}
    return [finding.text for finding in found]


def test_no_worker_is_a_warning(redis_url: str) -> None:
    assert warnings(redis_url) == ["no worker runs on this Redis: start `fiqa worker`"]


def test_workers_that_fit_are_counted(ledger: Ledger, redis_url: str) -> None:
    beat(ledger, "one:7:0", self_test=SelfTest("passed", 0.30982, 0.9), **GOOD)
    beat(ledger, "two:7:0", self_test=SelfTest("passed", 0.30985, 0.9), **GOOD)
    expected = "2 workers with 4 processes, all with the fingerprint abcd"
    assert one(check_workers(redis_url), State.OK) == expected


def test_workers_with_different_fingerprints_or_versions_are_reported(ledger: Ledger, redis_url: str) -> None:
    beat(ledger, "one:7:0", **GOOD)
    beat(ledger, "two:7:0", **GOOD | {"fingerprint": "ef01", "version": "0.0.9"})
    different, old = warnings(redis_url)
    assert "(1 of abcd, 1 of ef01)" in different
    assert old == f"1 worker of version 0.0.9, this is {version('fiqa')}: install the same version"


def test_problems_and_warnings_of_workers_are_shown_up_to_five(ledger: Ledger, redis_url: str) -> None:
    beat(ledger, "one:7:0", self_test=SelfTest("differs", 0.3, 0.9, "self-test: it differs"), **GOOD)
    ledger.workers.report("one:7:0", "file:///data", "does not exist")
    assert warnings(redis_url) == ["one:7: self-test: it differs", "one:7: file:///data: does not exist"]
    for number in range(6):
        ledger.workers.report("one:7:0", f"s3://{number}", "no credentials")
    assert warnings(redis_url)[-1] == "3 more problems: see `fiqa workers`"


def test_two_machines_that_score_differently_are_named(ledger: Ledger, redis_url: str) -> None:
    """Nobody knows the score of an int8 model. It must be the same everywhere."""
    beat(ledger, "one:7:0", self_test=SelfTest("noted", 0.5, 0.9), **GOOD)
    beat(ledger, "two:7:0", self_test=SelfTest("noted", 0.51, 0.9), **GOOD)
    (text,) = warnings(redis_url)
    assert "0.5000 on one, 0.5100 on two" in text


def test_without_redis_both_are_skipped() -> None:
    url = f"redis://127.0.0.1:{free_ports(1)}/0"
    one(check_workers(url), State.SKIPPED)
    one(check_jobs(url), State.SKIPPED)


def test_jobs_with_errors_and_jobs_that_no_worker_fits_are_named(ledger: Ledger, redis_url: str) -> None:
    assert one(check_jobs(redis_url), State.OK) == "0 jobs running, without an error"
    beat(ledger, "one:7:0", **GOOD)
    with_error, waits = opened(ledger), opened(ledger)
    assert one(check_jobs(redis_url), State.OK) == "2 jobs running, without an error"
    ledger.connection.redis.hset(job_key(with_error), "last_error", "the storage is full")
    ledger.connection.redis.hset(job_key(waits), "fingerprint", "another")
    assert {finding.text for finding in check_jobs(redis_url)} == {
        f"{with_error}: the storage is full",
        f"{waits} waits: 1 worker runs with other models, settings or version: start a worker that fits",
    }
