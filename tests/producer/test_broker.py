from __future__ import annotations

import json
import pickle
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.messaging import Producer

from fiqa.broker import make_app, publish_tickets
from fiqa.contract import QUEUE, TASK_NAME, JobSpec
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import MAX_TICKETS
from tests.servers import start_redis

PASSWORD = "p@s/s w%rd?"  # noqa: S105  of a test server


def open_job(ledger: Ledger, chunks: int) -> None:
    job_id = new_job_id()
    submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis")
    ledger.open(job_id, submission, chunks=chunks, images=chunks)


def published(redis_url: str) -> int:
    """Open a job of one chunk, publish with a new application, and return the number of tickets in the queue."""
    with closing(Ledger(redis_url)) as ledger, make_app(redis_url) as app:
        open_job(ledger, chunks=1)
        publish_tickets(app, ledger)
        return int(ledger.connection.redis.llen(QUEUE))


def test_the_tickets_that_the_queue_lacks_are_published(ledger: Ledger, redis_url: str) -> None:
    with make_app(redis_url) as app:
        assert publish_tickets(app, ledger) == 0
        open_job(ledger, chunks=5)
        assert publish_tickets(app, ledger) == 5
        assert publish_tickets(app, ledger) == 0
        open_job(ledger, chunks=10 * MAX_TICKETS)
        assert publish_tickets(app, ledger) == MAX_TICKETS - 5
    assert ledger.connection.redis.llen(QUEUE) == MAX_TICKETS


def test_a_ticket_names_no_job_and_is_small(ledger: Ledger, redis_url: str) -> None:
    published(redis_url)
    (message,) = map(json.loads, ledger.connection.redis.lrange(QUEUE, 0, -1))
    assert message["headers"]["task"] == TASK_NAME
    assert message["content-type"] == "application/json"
    assert ledger.jobs()[0].id not in json.dumps(message)
    assert len(json.dumps(message)) < 1500


def test_every_key_has_the_prefix_of_fiqa_or_kombu(ledger: Ledger, redis_url: str) -> None:
    published(redis_url)
    keys = [key.decode() for key in ledger.connection.redis.scan_iter()]
    assert all(key == QUEUE or key.startswith(("fiqa:", "_kombu.")) for key in keys)


def test_a_pickle_is_refused_and_never_loaded(redis_url: str) -> None:
    refused: list[Exception] = []

    def note(message: Any, error: Exception) -> None:
        message.ack()
        refused.append(error)

    def accept(body: object, _: object) -> None:
        raise AssertionError(body)

    # This is kombu's own consumer. A worker drops the message even earlier: tests/hostile/test_messages.py.
    with make_app(redis_url) as app, app.connection_for_write() as connection, connection.channel() as channel:
        Producer(channel, routing_key=QUEUE).publish(pickle.dumps(len), content_type="application/x-python-serialize")
        with app.amqp.TaskConsumer(channel, callbacks=[accept], on_decode_error=note):
            connection.drain_events(timeout=5)
    assert [type(error) for error in refused] == [ContentDisallowed]


def test_the_variables_of_another_celery_application_are_ignored(
    ledger: Ledger, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "no.such.module")
    monkeypatch.setenv("CELERY_LOADER", "no.such.loader")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "no-such-backend://")
    assert published(redis_url) == 1
    assert ledger.connection.redis.llen(QUEUE) == 1
    with make_app(redis_url) as app, app.connection_for_read() as connection:
        assert connection.as_uri() == app.connection_for_write().as_uri()
        connection.ensure_connection(max_retries=1)


def test_an_application_can_be_pickled_for_a_spawned_process(redis_url: str) -> None:
    with make_app(redis_url) as app:
        copy = pickle.loads(pickle.dumps(app))  # noqa: S301  made in the same line
    assert copy.conf.accept_content == ["json"]
    assert copy.connection_for_read().as_uri() == app.connection_for_read().as_uri()


def test_publishing_without_redis_is_an_error_in_one_line(ledger: Ledger) -> None:
    open_job(ledger, chunks=1)
    error = pytest.raises(RedisUnavailableError, match=r"^cannot [^\n]+$")
    with make_app("redis://:secret@127.0.0.1:1/0") as app, error as caught:
        publish_tickets(app, ledger)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "unix://{path}",
        "unix://{path}?db=3",
        "unix://{path}?db=3&username=guarded&password={password}",
        "unix://guarded:{password}@{path}?db=3",
    ],
)
def test_ledger_and_tickets_use_the_same_unix_socket(tmp_path: Path, url: str) -> None:
    path = tmp_path / "redis.sock"
    with start_redis(tmp_path, {"unixsocket": str(path)}) as server:
        with closing(Ledger(server.url)) as admin:
            admin.connection.redis.execute_command(
                "ACL", "SETUSER", "guarded", "on", f">{PASSWORD}", "~*", "&*", "+@all"
            )
            if "guarded" in url:
                admin.connection.redis.execute_command("ACL", "SETUSER", "default", "off")
        assert published(url.format(path=path, password=quote(PASSWORD, safe=""))) == 1


@pytest.mark.parametrize("database", ["", "/", "/0", "/5"])
def test_ledger_and_tickets_use_the_same_database(redis_url: str, database: str) -> None:
    assert published(redis_url.removesuffix("/0") + database) == 1


def test_ledger_and_tickets_use_the_password(ledger: Ledger, redis_url: str) -> None:
    ledger.connection.redis.execute_command("ACL", "SETUSER", "guarded", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    try:
        assert published(redis_url.replace("://", f"://guarded:{quote(PASSWORD, safe='')}@")) == 1
    finally:
        ledger.connection.redis.execute_command("ACL", "DELUSER", "guarded")
