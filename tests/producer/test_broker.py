from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from fiqa.broker import publish_tickets
from fiqa.contract import TASK_NAME, JobSpec
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import MAX_TICKETS
from tests.keys import QUEUE
from tests.servers import start_redis

PASSWORD = "p@s/s w%rd?"  # noqa: S105  of a test server


def open_job(ledger: Ledger, chunks: int) -> None:
    job_id = new_job_id()
    submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis")
    ledger.open(job_id, submission, chunks=chunks, images=chunks)


def published(redis_url: str) -> int:
    """Open a job of one chunk, publish, and return the number of tickets in the queue."""
    with closing(Ledger(redis_url)) as ledger:
        open_job(ledger, chunks=1)
        publish_tickets(ledger)
        return int(ledger.connection.redis.llen(QUEUE))


def test_the_tickets_that_the_queue_lacks_are_published(ledger: Ledger) -> None:
    assert publish_tickets(ledger) == 0
    open_job(ledger, chunks=5)
    assert publish_tickets(ledger) == 5
    assert publish_tickets(ledger) == 0
    open_job(ledger, chunks=10 * MAX_TICKETS)
    assert publish_tickets(ledger) == MAX_TICKETS - 5
    assert ledger.connection.redis.llen(QUEUE) == MAX_TICKETS


def test_a_ticket_names_no_job_and_is_small(ledger: Ledger, redis_url: str) -> None:
    published(redis_url)
    (message,) = map(json.loads, ledger.connection.redis.lrange(QUEUE, 0, -1))
    assert message["headers"]["task"] == TASK_NAME
    assert message["content-type"] == "application/json"
    assert ledger.jobs()[0].id not in json.dumps(message)
    assert len(json.dumps(message)) < 1500


def test_publishing_without_redis_is_an_error_in_one_line() -> None:
    error = pytest.raises(RedisUnavailableError, match=r"^cannot [^\n]+$")
    with closing(Ledger("redis://:secret@127.0.0.1:1/0")) as ledger, error as caught:
        publish_tickets(ledger)
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
