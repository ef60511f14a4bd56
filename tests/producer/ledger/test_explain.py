"""A Redis that is full, away, slow or refuses is an error in one line, without the password."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from redis.backoff import NoBackoff

from fiqa.contract import JobState
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.ledger import Ledger
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    create,
    expire_leases,
    opened,
)
from tests.servers import S3Server


@contextmanager
def config(ledger: Ledger, name: str, value: str) -> Iterator[None]:
    before = ledger.connection.redis.config_get(name)[name]
    ledger.connection.redis.config_set(name, value)
    try:
        yield
    finally:
        ledger.connection.redis.config_set(name, before)


def test_a_full_redis_is_an_error_in_one_line_and_loses_no_chunk(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2)
    claim = claimed(ledger)
    expire_leases(ledger)
    refused = r"^Redis at redis://[^\n]+ is full: [^\n]+$"
    with config(ledger, "maxmemory", "1"):
        with pytest.raises(RedisUnavailableError, match=refused):
            create(ledger)
        with pytest.raises(RedisUnavailableError, match=refused):
            complete(ledger, claim)
        for _ in range(3):
            # It may hand out chunks or refuse, but must not lose a chunk in between.
            with suppress(RedisUnavailableError):
                ledger.claim()
    expire_leases(ledger)
    while again := ledger.claim():
        complete(ledger, again)
    status = ledger.status(job_id)
    assert (status.state, status.scored) == (JobState.SUCCEEDED, 20)


def failure(url: str) -> str:
    """Return the error of a Redis that cannot be used."""
    with closing(Ledger(url)) as ledger, pytest.raises(RedisUnavailableError, match=r"^[^\n]+$") as caught:
        ledger.connection.ping()
    return str(caught.value)


def test_an_unreachable_redis_is_an_error_in_one_line_without_the_password() -> None:
    text = failure("redis://me:se%40cret@127.0.0.1:1/2?socket_timeout=3")
    assert text.startswith("cannot reach Redis at redis://127.0.0.1:1/2 (")
    assert text.endswith("): start it, or set FIQA_REDIS_URL")


def test_a_missing_socket_is_an_error_in_one_line_without_the_password() -> None:
    text = failure("unix:///nowhere/redis.sock?db=1&password=se%40cret")
    assert text.startswith("cannot reach Redis at unix:///nowhere/redis.sock (")


def test_a_wrong_password_is_an_error_in_one_line_without_the_password(ledger: Ledger, redis_url: str) -> None:
    ledger.connection.redis.execute_command("ACL", "SETUSER", "guarded", "on", ">right", "~*", "+@all")
    host = redis_url.removeprefix("redis://")
    try:
        with closing(Ledger(f"redis://guarded:right@{host}")) as right:
            right.connection.ping()
        text = failure(f"redis://guarded:wrong@{host}")
    finally:
        ledger.connection.redis.execute_command("ACL", "DELUSER", "guarded")
    assert text == f"Redis at {redis_url} refuses the login: check user and password in FIQA_REDIS_URL"


def test_a_redis_that_does_not_answer_in_time_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa.ledger.connection.ExponentialBackoff", lambda **_: NoBackoff())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        assert failure(f"{url}?socket_timeout=0.05") == f"Redis at {url} does not answer in time: try again"


def test_a_database_that_redis_does_not_have_is_named_with_what_to_do(redis_url: str) -> None:
    text = failure(redis_url.replace("/0", "/99"))
    assert "has fewer databases: set a smaller number in FIQA_REDIS_URL" in text


def test_a_server_that_is_not_redis_is_named_with_what_to_do(s3: S3Server) -> None:
    text = failure(s3.endpoint.replace("http://", "redis://"))
    assert "FIQA_REDIS_URL" in text
