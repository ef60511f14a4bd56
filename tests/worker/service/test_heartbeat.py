from __future__ import annotations

from contextlib import closing

import pytest

from fiqa.ledger.keys import HEARTBEAT
from fiqa.ledger.ledger import Ledger
from fiqa_worker.service.heartbeat import Heartbeat
from tests.worker.service.conftest import StoppableRedis
from tests.worker.service.stepped import Over, rounds


def test_each_heartbeat_lasts_for_three_rounds(ledger: Ledger) -> None:
    redis = ledger.connection.redis
    left_ms: list[int] = []

    def look() -> None:
        left_ms.append(redis.pttl(HEARTBEAT))
        redis.pexpire(HEARTBEAT, 1000)

    with pytest.raises(Over):
        Heartbeat(ledger, sleep=rounds(look, look)).run()
    assert len(left_ms) == 2
    assert all(10_000 < left <= 15_000 for left in left_ms)


def test_heartbeats_go_on_after_redis_was_unavailable(stoppable_redis: StoppableRedis) -> None:
    with closing(Ledger(stoppable_redis.url)) as ledger:

        def start_empty() -> None:
            stoppable_redis.start()
            ledger.connection.redis.flushall()

        def look() -> None:
            assert ledger.connection.redis.exists(HEARTBEAT)

        with pytest.raises(Over):
            Heartbeat(ledger, sleep=rounds(stoppable_redis.stop, start_empty, look)).run()
