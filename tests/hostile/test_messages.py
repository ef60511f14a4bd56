"""Strangers' messages in the queue: a real worker drops them, runs none of them, and goes on."""

from __future__ import annotations

import base64
import json
import pickle
from contextlib import closing
from pathlib import Path

import pytest
import redis

from fiqa import Client, JobState
from fiqa.broker import new_ticket
from fiqa.contract import TASK_NAME
from fiqa_worker.service.app import make_app
from fiqa_worker.service.tickets import is_ticket
from tests.hostile.messages import message, pickled
from tests.hostile.test_images import children_of
from tests.integration.conftest import StartWorker
from tests.keys import QUEUE, UNACKED, UNACKED_INDEX
from tests.ledger_of import ledger_of
from tests.waiting import WAIT_S, wait_until

SEED = 1
MESSAGES = 10_000


@pytest.fixture
def ticket(redis_url: str) -> bytes:
    """A ticket as it is in Redis."""
    with make_app(redis_url) as app, closing(redis.Redis.from_url(redis_url)) as server:
        app.send_task(TASK_NAME)
        found = server.rpop(QUEUE)
        assert isinstance(found, bytes)
        return found


def test_a_published_ticket_and_a_restored_ticket_are_recognized(ticket: bytes) -> None:
    fields = json.loads(ticket)
    assert is_ticket(fields, QUEUE)
    fields["headers"]["redelivered"] = fields["properties"]["delivery_info"]["redelivered"] = True
    assert is_ticket(fields, QUEUE)


def test_a_clean_ticket_has_the_fields_that_celery_publishes(ticket: bytes) -> None:
    published, clean = json.loads(ticket), new_ticket(QUEUE)
    assert is_ticket(clean, QUEUE)
    assert base64.b64decode(clean["body"]) == base64.b64decode(published["body"])
    names = {"id", "root_id", "correlation_id", "delivery_tag"}
    for part in ("headers", "properties"):
        assert set(clean[part]) <= set(published[part])
        same = set(clean[part]) - names
        assert {name: clean[part][name] for name in same} == {name: published[part][name] for name in same}


@pytest.mark.timeout(300)
def test_a_worker_survives_ten_thousand_messages_that_are_not_tickets(
    client: Client, photos: Path, ticket: bytes, start_worker: StartWorker, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    server: redis.Redis = ledger_of(client).connection.redis
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    uris = [path.as_uri() for path in sorted(photos.iterdir())]
    assert client.wait(client.submit(uris[:1]).id, WAIT_S).state is JobState.SUCCEEDED
    children = children_of(worker.process.pid)

    for first in range(0, MESSAGES, 500):
        numbers = range(first, min(first + 500, MESSAGES))
        server.lpush(QUEUE, *(message(SEED, number, ticket, canary) for number in numbers))
    server.lpush(QUEUE, b'{"body": "' + b"A" * 50_000_000 + b'"}')
    job = client.submit(uris)
    status = client.wait(job.id, WAIT_S)

    assert (status.state, status.images_done) == (JobState.SUCCEEDED, len(uris))
    wait_until_taken(server)
    assert children_of(worker.process.pid) == children
    assert worker.process.poll() is None
    assert worker.log.count("message dropped, not a ticket") > MESSAGES / 2
    assert "Traceback" not in worker.log
    assert not canary.exists()


def test_a_pickle_that_is_loaded_makes_the_canary(tmp_path: Path) -> None:
    pickle.loads(base64.b64decode(pickled(tmp_path / "canary")))  # noqa: S301  our own
    assert (tmp_path / "canary").exists()


def test_foreign_entries_among_the_unacknowledged_tickets_stop_no_worker(
    client: Client, photos: Path, start_worker: StartWorker
) -> None:
    server: redis.Redis = ledger_of(client).connection.redis
    for name, value in {"no json": b"hello", "a list": b"[1]", "odd": b'[{}, "", 5]', "pickle": b"\x80\x04."}.items():
        server.hset(UNACKED, name, value)
        server.zadd(UNACKED_INDEX, {name: 1})
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri())
    job = client.submit([path.as_uri() for path in photos.iterdir()])
    assert client.wait(job.id, WAIT_S).state is JobState.SUCCEEDED
    assert worker.process.poll() is None


def test_a_ticket_that_is_delivered_a_hundred_times_does_no_harm(
    client: Client, photos: Path, ticket: bytes, start_worker: StartWorker
) -> None:
    server: redis.Redis = ledger_of(client).connection.redis
    server.lpush(QUEUE, *[ticket] * 100)
    worker = start_worker(FIQA_ALLOWED_SOURCES=photos.as_uri(), concurrency=2)
    job = client.submit([path.as_uri() for path in photos.iterdir()], chunk_size=1)
    assert client.wait(job.id, WAIT_S).state is JobState.SUCCEEDED
    wait_until_taken(server)
    assert worker.process.poll() is None


def wait_until_taken(server: redis.Redis) -> None:
    wait_until(lambda: not (server.llen(QUEUE) or server.hlen(UNACKED)))
