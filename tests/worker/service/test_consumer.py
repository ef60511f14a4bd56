from __future__ import annotations

import threading

import pytest

from fiqa_worker.service.app import make_app
from fiqa_worker.service.consumer import PatientConsumer
from tests.waiting import WAIT_S, wait_until
from tests.worker.service.conftest import StoppableRedis


def test_the_consumer_waits_for_a_redis_that_is_away_and_reports_it_once(
    stoppable_redis: StoppableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    stoppable_redis.stop()
    with make_app(stoppable_redis.url) as app, app.connection_for_read() as connection:
        consumer = app.WorkController(pool_cls="solo").consumer
        assert isinstance(consumer, PatientConsumer)
        connecting = threading.Thread(target=consumer.ensure_connected, args=(connection,))
        connecting.start()
        wait_until(lambda: caplog.messages)
        stoppable_redis.start()
        connecting.join(WAIT_S)
        assert not connecting.is_alive()
        assert connection.connected
    (message,) = [text for text in caplog.messages if "Redis is unavailable" in text]
    assert message.startswith("Redis is unavailable, retrying: ")
    assert not consumer.first_connection_attempt
