"""A Redis that is full, away or slow, refuses or forgets: an error in one line, and nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
import redis
from redis.backoff import NoBackoff

from fiqa.contract import JobState
from fiqa.errors import RedisUnavailableError, SettingsError
from fiqa.ledger.claims import Completion
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.redis_url import connection_arguments
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    create,
    expire_leases,
    opened,
)


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


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:port/0",
        "redis://localhost:99999/0",
        "redis://localhost/zero",
        "redis://me:se/cret@localhost/0",
        "redis://[half/0",
    ],
)
def test_a_wrong_url_is_an_error_in_one_line_without_the_url(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^FIQA_REDIS_URL: not a Redis URL: redis://user:password@host[^\n]+$"):
        Ledger(url)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("s3cret=1", "an option that fiqa does not take; it takes db, username"),
        ("socket_timeuot=1", r"an option that fiqa does not take; did you mean socket_timeout\?"),
        ("decode_responses=true", "an option that fiqa does not take"),
        ("max_connections=3", "an option that fiqa does not take"),
        ("password=a&s3cret", "an option that fiqa does not take"),
        ("socket_timeout=s3cret", "the option socket_timeout takes a number of seconds, more than 0"),
        ("socket_timeout=0", "the option socket_timeout takes a number of seconds, more than 0"),
        ("socket_connect_timeout=", "the option socket_connect_timeout takes a number of seconds, more than 0"),
        ("health_check_interval=2.5", "the option health_check_interval takes a whole number"),
        ("protocol=4", "the option protocol takes 2 or 3"),
        ("client_name=a%20b", "the option client_name takes a name without spaces"),
        ("retry_on_timeout=perhaps", "the option retry_on_timeout takes true or false"),
        ("db=zero", "the option db takes a whole number"),
        ("ssl_cert_reqs=none", "the option ssl_cert_reqs is for rediss:// only"),
    ],
)
def test_a_wrong_option_is_an_error_in_one_line_before_anything_is_made(options: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=rf"^FIQA_REDIS_URL: {problem}[^\n]*$") as caught:
        Ledger(f"redis://localhost/0?{options}")
    assert "s3cret" not in str(caught.value)


def test_a_socket_has_no_keepalive() -> None:
    with pytest.raises(SettingsError, match=r"^FIQA_REDIS_URL: the option socket_keepalive is not for unix://$"):
        Ledger("unix:///run/redis.sock?socket_keepalive=true")


@pytest.mark.parametrize("value", ["none", "CERT_NONE", "optional", "CERT_OPTIONAL", "required", "CERT_REQUIRED"])
def test_the_spellings_of_redis_and_of_celery_are_taken(value: str) -> None:
    arguments = connection_arguments(f"rediss://localhost/0?ssl_cert_reqs={value}&ssl_check_hostname=false")
    assert arguments["ssl_cert_reqs"] == value.lower().removeprefix("cert_")
    assert arguments["ssl_check_hostname"] is False


def test_the_options_of_a_url_take_precedence_over_the_defaults() -> None:
    arguments = connection_arguments("redis://me:se%40cret@host:1/2?socket_timeout=3&db=4&username=you&client_name=us")
    assert arguments["socket_timeout"] == 3
    assert arguments["health_check_interval"] == 30
    # As redis-py reads them: the database of the options, the user of the address.
    assert (arguments["db"], arguments["username"], arguments["password"]) == (4, "me", "se@cret")
    assert arguments["client_name"] == "us"


def test_scripts_that_redis_forgot_are_sent_again(ledger: Ledger) -> None:
    job_id = opened(ledger)
    ledger.connection.redis.script_flush()
    claim = claimed(ledger)
    ledger.connection.redis.script_flush()
    assert complete(ledger, claim) is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_connections_that_were_cut_are_opened_again(ledger: Ledger, redis_url: str) -> None:
    job_id = opened(ledger)
    with closing(redis.Redis.from_url(redis_url)) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
    assert claimed(ledger).job_id == job_id
