from __future__ import annotations

import pickle

import pytest

from fiqa.errors import SettingsError
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.redis_url import connection_arguments, shown_url


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
        ("ssl_cert_reqs=none", r"the option ssl_cert_reqs is for rediss:// and rediss\+sentinel:// only"),
        ("master=s3cret", "the option master is for sentinel:// only"),
        ("sentinel_password=s3cret", "the option sentinel_password is for sentinel:// only"),
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


def test_the_sentinels_of_a_url_and_their_login_are_apart_from_those_of_redis() -> None:
    url = "rediss+sentinel://me:s%2Cecret@a:1,[::1]:2,c/3?master=m&sentinel_username=s&sentinel_password=p%26w"
    arguments = connection_arguments(f"{url}&ssl_cert_reqs=none")
    sentinels = arguments["connection_pool"]
    assert sentinels.addresses == (("a", 1), ("::1", 2), ("c", 26379))
    assert sentinels.service_name == "m"
    assert sentinels.arguments == {"ssl": True, "ssl_cert_reqs": "none", "username": "s", "password": "p&w"}
    assert (arguments["db"], arguments["username"], arguments["password"]) == (3, "me", "s,ecret")
    assert arguments.keys().isdisjoint({"host", "port", "master", "sentinel_password"})
    assert shown_url(url) == "rediss+sentinel://a:1,[::1]:2,c/3?master=m"
    assert pickle.loads(pickle.dumps(arguments)) == arguments  # noqa: S301  Celery does so for its pool


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sentinel://a:1/0", r"the option master is missing: sentinel://host:26379/0\?master=mymaster"),
        ("sentinel://a:1/0?master=", "the option master takes a value that is not empty"),
        ("sentinel://a:1/0?masters=m", r"an option that fiqa does not take; did you mean master\?"),
        ("sentinel://a:1/mymaster", "not a Redis URL"),
        ("sentinel://a:1;sentinel://b:2/0?master=m", "not a Redis URL"),
        ("sentinel://a:1,/0?master=m", "not a Redis URL"),
        ("sentinel://a:port/0?master=m", "not a Redis URL"),
        ("sentinel://a:99999/0?master=m", "not a Redis URL"),
        ("sentinel:///0?master=m", "not a Redis URL"),
        ("sentinel://me:se/cret@a/0?master=m", "not a Redis URL"),
        ("sentinel://a/0?master=m&ssl_cert_reqs=none", "the option ssl_cert_reqs is for rediss:// and rediss"),
    ],
)
def test_a_wrong_url_of_sentinels_is_an_error_in_one_line(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=rf"^FIQA_REDIS_URL: {problem}[^\n]*$") as caught:
        Ledger(url)
    assert "cret" not in str(caught.value)
