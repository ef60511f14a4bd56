from __future__ import annotations

import json

from fiqa.contract import SelfTest
from fiqa.ledger.claims import Claimant
from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import fiqa
from tests.producer.ledger.ledger_jobs import beat, opened


def test_without_a_worker_one_line_is_printed(ledger: Ledger) -> None:
    del ledger
    done = fiqa("workers")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no worker runs: start `fiqa worker`\n")
    assert fiqa("workers", "--json").stdout == ""


def test_each_worker_is_a_row_with_its_problems(ledger: Ledger) -> None:
    beat(ledger, "one:7:0", version="1.2", detector="yunet@8f2a", device="cpu", processes=3, fingerprint="abcd")
    beat(ledger, "two:8:0", allowed_sources=("s3://a", "file:///data"))
    ledger.workers.report("two:8:0", "file:///data", "does not exist\x1b[2J")
    head, first, second = fiqa("workers").stdout.splitlines()
    assert head.split()[:3] == ["worker", "version", "detector"]
    assert first.split()[:5] == ["one:7", "1.2", "yunet@8f2a", "cpu", "3"]
    assert "s3://a,file:///data" in second
    assert second.rstrip().endswith("file:///data: does not exist\\x1b[2J")


def test_json_is_a_line_for_each_worker(ledger: Ledger) -> None:
    beat(ledger, "one:7:0", allowed_sources=("s3://a",))
    ledger.workers.report("one:7:0", "s3://a", "no credentials")
    (line,) = fiqa("workers", "--json").stdout.splitlines()
    worker = json.loads(line)
    assert (worker["host"], worker["allowed_sources"], worker["problems"]) == (
        "one",
        ["s3://a"],
        {"s3://a": "no credentials"},
    )


def test_the_chunks_that_a_worker_holds_are_shown(ledger: Ledger) -> None:
    beat(ledger, "one:7:0")
    beat(ledger, "two:8:0")
    job = opened(ledger, chunks=3)
    for _ in range(2):
        assert ledger.claim_for(Claimant(worker="one:7:0")).claim
    ledger.claim()  # by a worker that is not in the list
    _, first, second = (" ".join(line.split()) for line in fiqa("workers").stdout.splitlines())
    assert f" ago 2: {job} chunk 0, 0 s" in first
    assert second.endswith(" ago 0")
    worker = json.loads(fiqa("workers", "--json").stdout.splitlines()[0])
    assert [(held["job"], held["chunk"]) for held in worker["chunks"]] == [(job, 0), (job, 1)]


def test_the_self_test_is_shown_and_its_warning_is_a_problem(ledger: Ledger) -> None:
    beat(ledger, "one:7:0", self_test=SelfTest("passed", 0.309821, 0.93))
    beat(ledger, "two:8:0", self_test=SelfTest("differs", 0.4, 0.93, "self-test: q@1 gives 0.40000"))
    _, first, second = fiqa("workers").stdout.splitlines()
    assert "passed 0.3098" in first
    assert "differs 0.4000" in second
    assert second.rstrip().endswith("self-test: q@1 gives 0.40000")
    worker = json.loads(fiqa("workers", "--json").stdout.splitlines()[1])
    assert (worker["self_test"]["verdict"], worker["self_test"]["quality"]) == ("differs", 0.4)
