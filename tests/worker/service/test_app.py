"""The Celery application of a worker, and how it connects."""

from __future__ import annotations

import pickle
from contextlib import closing
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.exceptions import ContentDisallowed
from kombu.messaging import Producer

from fiqa.broker import publish_tickets
from fiqa.contract import JobSpec
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.redis_url import connection_arguments
from fiqa_worker.service.app import make_app
from tests.keys import QUEUE


def test_a_pickle_is_refused_and_never_loaded(redis_url: str) -> None:
    refused: list[Exception] = []

    def note(message: Any, error: Exception) -> None:
        message.ack()
        refused.append(error)

    def accept(body: object, _: object) -> None:
        raise AssertionError(body)

    # These are kombu's own transport and consumer. A worker drops the message earlier: tests/hostile/test_messages.py.
    with make_app(redis_url) as app, Connection(redis_url) as connection, connection.channel() as channel:
        Producer(channel, routing_key=QUEUE).publish(pickle.dumps(len), content_type="application/x-python-serialize")
        with app.amqp.TaskConsumer(channel, callbacks=[accept], on_decode_error=note):
            connection.drain_events(timeout=5)
    assert [type(error) for error in refused] == [ContentDisallowed]


def test_the_variables_of_another_celery_application_are_ignored(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "no.such.module")
    monkeypatch.setenv("CELERY_LOADER", "no.such.loader")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "no-such-backend://")
    with make_app(redis_url) as app, app.connection_for_read() as connection:
        assert connection.as_uri() == app.connection_for_write().as_uri()
        connection.ensure_connection(max_retries=1)


def test_an_application_can_be_pickled_for_a_spawned_process(redis_url: str) -> None:
    with make_app(redis_url) as app:
        copy = pickle.loads(pickle.dumps(app))  # noqa: S301  the pickle is from this line
    assert copy.conf.accept_content == ["json"]
    assert copy.connection_for_read().as_uri() == app.connection_for_read().as_uri()


OPTIONS = [
    "health_check_interval=7",
    "protocol=3",
    "protocol=2",
    "client_name=photos",
    "socket_timeout=3.5",
    "socket_connect_timeout=2",
    "socket_keepalive=no",
    "retry_on_timeout=true",
    "db=3",
    "health_check_interval=0&client_name=photos&protocol=3&socket_timeout=9",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_ledger_and_celery_connect_with_the_same_options(redis_url: str, options: str) -> None:
    url = f"{redis_url}?{options}"
    wanted = connection_arguments(url)
    with closing(Ledger(url)) as ledger, make_app(url) as app, app.connection_for_read() as connection:
        publish_tickets_of_a_job(ledger)
        with connection.channel() as channel:
            for pool in (ledger.connection.redis.connection_pool, channel.pool, channel.async_pool):
                given = {name: pool.connection_kwargs.get(name) for name in wanted}
                assert given == wanted
            taken: list[Any] = []
            with app.amqp.TaskConsumer(channel, callbacks=[lambda body, message: taken.append((body, message.ack()))]):
                connection.drain_events(timeout=5)
        assert len(taken) == 1


def publish_tickets_of_a_job(ledger: Ledger) -> None:
    job_id = new_job_id()
    submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis")
    ledger.open(job_id, submission, chunks=1, images=1)
    assert publish_tickets(ledger) == 1
