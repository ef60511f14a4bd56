"""The page /metrics, over HTTP, from real counters and a real Redis."""

from __future__ import annotations

import platform
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fiqa.contract import SelfTest
from fiqa.errors import RedisUnavailableError, SettingsError
from fiqa.ledger.claims import Counts
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.overview import read_overview
from fiqa.ledger.workers import WorkerStatus
from fiqa_worker.pipeline.watch import Stage
from fiqa_worker.service.counters import Counters, SharedCounters
from fiqa_worker.service.metrics import LedgerReader, MetricsServer, WorkerMetrics
from tests.producer.ledger.ledger_jobs import opened
from tests.servers import free_ports

WORKER = WorkerStatus(
    id="one:1:0",
    host="one",
    pid=1,
    version="1.2",
    detector='de"t',
    quality_model="q@2",
    device="cpu",
    fingerprint="abc",
    self_test=SelfTest(),
    processes=2,
    started=5.5,
)
OPERATE = Path(__file__).parents[3] / "docs" / "operate.md"
Page = Callable[[], str]


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> SharedCounters:
    monkeypatch.setenv("_FIQA_COUNTERS", "")
    return SharedCounters(2)


@pytest.fixture
def reader(ledger: Ledger) -> LedgerReader:
    return LedgerReader(lambda: read_overview(ledger.connection), limit_s=60)


@pytest.fixture
def page(counters: SharedCounters, reader: LedgerReader) -> Iterator[Page]:
    """Reads the page of a worker."""
    server = MetricsServer(free_ports(1))
    server.start(WorkerMetrics(WORKER, counters, lambda: 1.5, reader))
    yield lambda: read(f"http://127.0.0.1:{server.port}/metrics")
    server.close()


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  a URL of this test
        return str(answer.read().decode())


def values(page: str) -> dict[str, float]:
    """Each metric and its value, without the buckets of histograms."""
    return {
        f"{sample.name}{sorted(sample.labels.values()) or ''}": sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_the_page_shows_what_processes_counted_and_what_redis_knows(page: Page, ledger: Ledger) -> None:
    opened(ledger, chunks=3)
    Counters.of_process(0).add_images(Counts(scored=4, no_face=1, faces=6, failed={}, models={}))
    Counters.of_process(1).add_work({Stage.FETCH: 0.25}, 1000)
    found = values(page())
    assert found[f"fiqa_build_info['1.2', '{platform.python_version()}']"] == 1
    assert found["""fiqa_model_info['abc', 'cpu', 'de"t', 'q@2']"""] == 1
    assert found["fiqa_heartbeat_age_seconds"] == 1.5
    assert (found["fiqa_images_total['', 'scored']"], found["fiqa_images_total['', 'no_face']"]) == (4, 1)
    assert (found["fiqa_faces_total"], found["fiqa_fetched_bytes_total"]) == (6, 1000)
    assert (found["fiqa_stage_seconds_count['fetch']"], found["fiqa_stage_seconds_sum['fetch']"]) == (1, 0.25)
    assert (found["fiqa_redis_up"], found["fiqa_jobs['running']"], found["fiqa_chunks_unclaimed"]) == (1, 1, 3)
    assert found["fiqa_images_remaining['normal']"] == 30


def test_buckets_are_cumulative_and_end_with_all(page: Page) -> None:
    counters = Counters.of_process(0)
    for duration in (0.001, 0.3, 99.0):
        counters.add_work({Stage.SCORE: duration}, 0)
    buckets = re.findall(r'fiqa_stage_seconds_bucket\{le="([^"]+)",stage="score"\} (\S+)', page())
    numbers = [float(number) for _, number in buckets]
    assert numbers == sorted(numbers)
    assert (buckets[-1], dict(buckets)["60.0"], dict(buckets)["0.5"]) == (("+Inf", "3.0"), "2.0", "2.0")


def test_the_table_in_the_docs_has_all_metrics_and_their_labels(page: Page) -> None:
    served = {
        re.sub("_(bucket|sum|count)$", "", sample.name): set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(page())
        for sample in family.samples
    }
    rows = re.findall(r"^\| `(fiqa_\w+)` \| (.*?) ?\| ", OPERATE.read_text("utf-8"), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == served


def test_many_jobs_make_the_page_no_longer(page: Page, ledger: Ledger) -> None:
    before = len(page().splitlines())
    for _ in range(50):
        opened(ledger)
    ledger.connection.redis.delete(ledger.connection.keys.overview)
    after = page()
    assert len(after.splitlines()) == before
    assert len(after) < 100_000


def test_a_scrape_does_not_wait_for_a_redis_that_hangs(counters: SharedCounters) -> None:
    hangs = threading.Event()
    asked: list[str] = []

    def read_slowly() -> None:
        asked.append("asked")
        hangs.wait(60)
        raise RedisUnavailableError("it hung")

    metrics = WorkerMetrics(WORKER, counters, lambda: 1.5, LedgerReader(read_slowly, limit_s=0.01))  # type: ignore[arg-type]
    names = [{metric.name for metric in metrics.collect()} for _ in range(3)]
    assert asked == ["asked"]
    assert all("fiqa_images" in found and "fiqa_jobs" not in found for found in names)
    hangs.set()


def test_without_redis_the_page_has_the_metrics_of_the_worker(counters: SharedCounters) -> None:
    def fail() -> None:
        raise RedisUnavailableError("it is away")

    metrics = WorkerMetrics(WORKER, counters, lambda: 1.5, LedgerReader(fail, limit_s=60))  # type: ignore[arg-type]
    found = {metric.name: metric.samples[0].value for metric in metrics.collect()}
    assert found["fiqa_redis_up"] == 0
    assert "fiqa_images" in found
    assert "fiqa_jobs" not in found


def test_a_port_in_use_is_one_line_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError) as error:
            MetricsServer(port)
    assert str(error.value) == (
        f"FIQA_METRICS_PORT: cannot listen on port {port}: Address already in use: choose a free port above 1023"
    )
