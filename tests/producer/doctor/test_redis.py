"""Findings about a real Redis with a wrong setup."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from fiqa.doctor.findings import State
from fiqa.doctor.redis import check_redis
from fiqa.errors import RedisUnavailableError, SettingsError
from tests.producer.doctor.looking import one, states
from tests.redis_refusals import no_disk, replica
from tests.servers import free_ports, start_redis
from tests.waiting import wait_until


@pytest.fixture
def admin(redis_url: str) -> Iterator[Any]:
    with closing(redis.Redis.from_url(redis_url)) as client:
        yield client


def test_a_redis_that_is_set_up_well_has_no_problem(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with start_redis(tmp_path / "redis", {"appendonly": "yes"}) as server:
        found = list(check_redis(server.url))
    assert set(states(found).values()) == {State.OK}
    assert set(states(found)) == {"redis", "memory", "persistence", "role", "clock"}
    assert re.search(r"(Redis|Valkey) \d+\.\d+.* at redis://127\.0\.0\.1:\d+/0 answers in", found[0].text)


def test_without_the_append_only_file_a_restart_may_lose_jobs(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as admin:
        admin.bgsave()  # the snapshot of another test may have failed
        wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "ok")
    assert "set appendonly yes" in one(check_redis(redis_url), State.WARNING, "persistence")


def test_no_server_is_one_error() -> None:
    with pytest.raises(RedisUnavailableError, match="start it, or set FIQA_REDIS_URL"):
        list(check_redis(f"redis://127.0.0.1:{free_ports(1)}/0"))


def test_a_wrong_password_is_one_error_without_it(admin: Any, redis_url: str) -> None:
    admin.execute_command("ACL", "SETUSER", "somebody", "on", ">right")
    url = redis_url.replace("redis://", "redis://somebody:wrong-5f1c@")
    try:
        with pytest.raises(RedisUnavailableError, match="refuses the login: check user and password") as refused:
            list(check_redis(url))
    finally:
        admin.execute_command("ACL", "DELUSER", "somebody")
    assert "5f1c" not in str(refused.value)


def test_a_url_that_is_wrong_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="FIQA_REDIS_URL"):
        list(check_redis("redis://127.0.0.1/0?sockettimeout=1"))


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lru"])
def test_a_redis_that_evicts_is_wrong(admin: Any, redis_url: str, policy: str) -> None:
    admin.config_set("maxmemory-policy", policy)
    try:
        text = one(check_redis(redis_url), State.WRONG, "memory")
    finally:
        admin.config_set("maxmemory-policy", "noeviction")
    assert policy in text
    assert "set maxmemory-policy noeviction" in text


def test_a_redis_that_is_full_or_nearly_full_is_reported(admin: Any, redis_url: str) -> None:
    used = admin.info("memory")["used_memory"]
    found = {}
    try:
        for name, maxmemory in (("full", 1), ("nearly full", int(1.1 * used)), ("enough", 10 * used)):
            admin.config_set("maxmemory", maxmemory)
            found[name] = states(check_redis(redis_url))["memory"]
    finally:
        admin.config_set("maxmemory", 0)
    assert found == {"full": State.WRONG, "nearly full": State.WARNING, "enough": State.OK}


def test_a_replica_is_wrong(redis_url: str) -> None:
    with replica(redis_url):
        text = one(check_redis(redis_url), State.WRONG, "role")
    assert text == "a read-only replica of 127.0.0.1:1: set FIQA_REDIS_URL to the master"


def test_a_redis_that_cannot_write_its_disk_is_wrong(redis_url: str) -> None:
    with no_disk(redis_url), pytest.raises(RedisUnavailableError, match="MISCONF"):
        list(check_redis(redis_url))


def test_a_snapshot_that_failed_is_a_warning_if_writes_go_on(admin: Any, redis_url: str) -> None:
    admin.config_set("stop-writes-on-bgsave-error", "no")
    try:
        with no_disk(redis_url):
            text = one(check_redis(redis_url), State.WARNING, "persistence")
    finally:
        admin.config_set("stop-writes-on-bgsave-error", "yes")
    assert text.startswith("the last snapshot of Redis failed")


def test_a_user_who_may_not_look_is_a_warning(admin: Any, redis_url: str) -> None:
    admin.execute_command("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+@all", "-info")
    try:
        found = list(check_redis(redis_url.replace("redis://", "redis://blind:x@")))
    finally:
        admin.execute_command("ACL", "DELUSER", "blind")
    assert [finding.state for finding in found if finding.check == "redis"] == [State.OK, State.WARNING]
    assert "lacks the permission +info" in found[1].text


@pytest.mark.parametrize(("seconds", "word"), [(3600, "later"), (-3600, "earlier")])
def test_a_clock_that_differs_is_a_warning(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, seconds: int, word: str
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + seconds)
    text = one(check_redis(redis_url), State.WARNING, "clock")
    assert re.match(rf"this machine's clock is (3,600|3,599|3,601) s {word} than Redis's", text)


def test_a_redis_without_connections_left_is_reported(admin: Any, redis_url: str) -> None:
    before = admin.config_get("maxclients")["maxclients"]
    admin.config_set("maxclients", 2)
    try:
        text = one(check_redis(redis_url), State.WARNING, "connections")
    finally:
        admin.config_set("maxclients", before)
    assert text == "2 of 2 connections are in use: raise the maxclients of Redis"
