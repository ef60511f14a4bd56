from __future__ import annotations

from contextlib import closing
from typing import Final

import pytest

from fiqa.contract import SelfTest
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.workers import WorkerStatus
from fiqa_worker.pipeline.identity import Identity
from fiqa_worker.service.heartbeat import Heartbeat, describe, in_words, worker_id
from fiqa_worker.settings import WorkerSettings
from tests.keys import WORKERS, worker_key
from tests.worker.service.conftest import StoppableRedis
from tests.worker.service.stepped import Over, rounds

WORKER: Final = WorkerStatus(id="one:1:0", host="one", pid=1)
IDENTITY: Final = Identity("d@1", "q@2", "cpu", "abc")


def test_each_heartbeat_lasts_for_three_rounds(ledger: Ledger) -> None:
    redis = ledger.connection.redis
    left_s: list[float] = []

    def look() -> None:
        (until,) = (until for _, until in redis.zrange(WORKERS, 0, -1, withscores=True))
        left_s.extend((until - ledger.connection.now(), redis.pttl(worker_key(WORKER.id)) / 1000))
        redis.zadd(WORKERS, {WORKER.id: 1})

    with pytest.raises(Over):
        Heartbeat(ledger.workers, WORKER, sleep=rounds(look, look)).run()
    assert len(left_s) == 4
    assert all(10 < left <= 15 for left in left_s)


def test_heartbeats_continue_after_redis_was_unavailable(stoppable_redis: StoppableRedis) -> None:
    with closing(Ledger(stoppable_redis.url)) as ledger:

        def start_empty() -> None:
            stoppable_redis.start()
            ledger.connection.redis.flushall()

        def look() -> None:
            assert [worker.id for worker in ledger.workers.all()] == [WORKER.id]

        with pytest.raises(Over):
            Heartbeat(ledger.workers, WORKER, sleep=rounds(stoppable_redis.stop, start_empty, look)).run()


def test_a_worker_that_takes_no_more_chunks_leaves_the_registry(ledger: Ledger) -> None:
    heartbeat = Heartbeat(ledger.workers, WORKER, sleep=rounds(lambda: heartbeat.leave()))  # noqa: PLW0108  not yet bound
    heartbeat.run()
    assert ledger.workers.all() == []


def test_a_worker_describes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_FIQA_WORKER_ID", "")
    settings = WorkerSettings(allowed_sources=("s3://bucket/a", "file:///data"))
    worker = describe(IDENTITY, SelfTest("noted", 0.5, 0.9), settings, processes=3)
    assert worker.allowed_sources == ("s3://bucket/a", "file:///data")
    assert (worker.detector, worker.fingerprint, worker.processes) == ("d@1", "abc", 3)
    assert worker_id() == worker.id
    line = in_words(worker)
    assert line.startswith(
        f"worker {worker.host}:{worker.pid} starts: fiqa {worker.version}, d@1, q@2, cpu, 3 processes"
    )
    assert ", sources s3://bucket/a, file:///data, fingerprint abc, " in line
    assert line.endswith("self-test noted: quality 0.50000, confidence 0.90000")
