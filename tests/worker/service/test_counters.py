"""Counters of several processes in one memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fiqa.contract import ErrorCode
from fiqa.ledger.claims import Counts
from fiqa_worker.pipeline.watch import Stage
from fiqa_worker.service.counters import BUCKETS_S, Counters, SharedCounters

COUNTS = Counts(
    scored=3, no_face=2, faces=5, failed={ErrorCode.NOT_FOUND: 1, ErrorCode("of_tomorrow"): 4}, models={"d/q": 10}
)
IN_A_CHUNK = """
import os, sys
from fiqa_worker.pipeline.watch import Stage
from fiqa_worker.service.counters import Counters
counters = Counters.of_process(1)
with counters.in_flight(attempt=2):
    counters.add_work({Stage.FETCH: 0.01}, 100)
    print("working", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> SharedCounters:
    monkeypatch.setenv("_FIQA_COUNTERS", "")
    return SharedCounters(2)


def test_images_are_summed_over_processes_by_status_and_code(shared: SharedCounters) -> None:
    for place in (0, 1, 1):
        Counters.of_process(place).add_images(COUNTS)
    totals = shared.totals()
    assert {outcome: number for outcome, number in totals.images.items() if number} == {
        ("scored", ""): 9,
        ("no_face", ""): 6,
        ("failed", "not_found"): 3,
        ("failed", "other"): 12,
    }
    assert totals.faces == 15


def test_every_code_and_stage_is_there_before_its_first_image(shared: SharedCounters) -> None:
    totals = shared.totals()
    assert {code for status, code in totals.images if status == "failed"} == {*ErrorCode, "other"}
    assert set(totals.stages) == set(Stage)


def test_the_time_of_a_stage_is_in_the_first_bucket_that_holds_it(shared: SharedCounters) -> None:
    counters = Counters.of_process(0)
    for duration in (0.0, BUCKETS_S[0], BUCKETS_S[1], BUCKETS_S[-1], 1000.0):
        counters.add_work({Stage.DETECT: duration}, 7)
    totals = shared.totals()
    counts = totals.stages[Stage.DETECT].counts
    assert (counts[0], counts[1], counts[-2], counts[-1], sum(counts)) == (2, 1, 1, 1, 5)
    assert totals.stages[Stage.DETECT].sum_s == pytest.approx(sum((*BUCKETS_S[:2], BUCKETS_S[-1], 1000.0)))
    assert sum(totals.stages[Stage.SCORE].counts) == 0
    assert totals.bytes_fetched == 35


def test_a_process_that_dies_in_a_chunk_loses_no_count_and_the_next_one_continues(shared: SharedCounters) -> None:
    process = subprocess.Popen([sys.executable, "-c", IN_A_CHUNK], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"working\n"
    assert (shared.totals().chunks_in_flight, shared.totals().redelivered) == (1, 1)
    process.kill()
    process.communicate()
    Counters.of_process(1).add_work({}, 100)
    totals = shared.totals()
    assert (totals.chunks_in_flight, totals.redelivered, totals.bytes_fetched) == (0, 1, 200)


def test_a_worker_without_metrics_counts_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_FIQA_COUNTERS", raising=False)
    Counters.of_process(3).add_images(COUNTS)


def test_a_process_that_cannot_open_the_memory_says_so_and_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("_FIQA_COUNTERS", f"/proc/{os.getpid()}/fd/99999")
    Counters.of_process(0).add_images(COUNTS)
    assert caplog.messages == [
        f"this process is missing in the metrics: cannot open /proc/{os.getpid()}/fd/99999: No such file or directory"
    ]
