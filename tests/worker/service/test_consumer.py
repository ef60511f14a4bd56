from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from fiqa_worker.service.app import make_app
from fiqa_worker.service.consumer import PatientConsumer
from tests.fiqa_process import BUILTIN
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


# A worker that gets SIGTERM after its pool has started its processes, and before one of them has blocked the signal.
EARLY_SIGNAL = """
import os, signal
from celery import bootsteps
from fiqa.cli.main import main
from fiqa_worker.service.tasks import app

class EarlySignal(bootsteps.StartStopStep):
    def start(self, consumer):
        os.kill(os.getpid(), signal.SIGTERM)
        for process in consumer.pool._pool._pool:
            process._popen.wait(60)

if __name__ == "__main__":
    app.steps["consumer"].add(EarlySignal)
    main()
"""


def test_a_worker_that_gets_sigterm_before_its_children_are_ready_ends_with_status_0(redis_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY_SIGNAL, "worker", "--concurrency", "1"],
        env={**os.environ, **BUILTIN, "FIQA_REDIS_URL": redis_url},
        stderr=subprocess.PIPE,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
