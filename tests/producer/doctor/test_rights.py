"""Whether rights that a user of Redis lacks are named: with real users of a real Redis."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from fiqa.doctor.findings import State
from fiqa.doctor.rights import _COMMANDS, check_rights
from fiqa.ledger.lua import script_text
from tests.integration.test_security import ACL
from tests.keys import QUEUE
from tests.producer.doctor.looking import one
from tests.redis_refusals import replica
from tests.servers import free_ports

LUA = Path(__file__).parents[3] / "producer" / "fiqa" / "ledger"

UserUrl = Callable[..., str]


@pytest.fixture
def user_url(redis_url: str) -> Iterator[UserUrl]:
    """Makes a user with the documented rights, and with changes to them; returns the URL with its login."""
    # Any: some of redis-py's commands have no types.
    admin: Any
    with closing(redis.Redis.from_url(redis_url)) as admin:

        def make(*changes: str) -> str:
            admin.execute_command("ACL", "SETUSER", "fiqa", "reset", ">secret-5f1c", *ACL, *changes)
            return redis_url.replace("redis://", "redis://fiqa:secret-5f1c@")

        yield make
        admin.execute_command("ACL", "DELUSER", "fiqa")


def test_the_documented_user_has_all_rights_and_nothing_is_left_behind(user_url: UserUrl, redis_url: str) -> None:
    assert one(check_rights(user_url()), State.OK) == "the user may do all that fiqa needs"
    with closing(redis.Redis.from_url(redis_url)) as admin:
        assert admin.keys("*") == []


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ("-hset", "HSET"),
        ("-zadd", "ZADD"),
        ("-brpop", "BRPOP"),
        ("-del", "DEL"),
        ("-pexpire", "PEXPIRE"),
        ("-evalsha", "EVALSHA, SCRIPT LOAD"),
        ("-script|load", "EVALSHA, SCRIPT LOAD"),
        ("-multi", "WATCH, MULTI, EXEC"),
        ("-@bitmap", "SETBIT"),
        ("-select", "SELECT"),
    ],
)
def test_a_command_that_is_not_allowed_is_named(user_url: UserUrl, change: str, lacking: str) -> None:
    text = one(check_rights(user_url(change)), State.WRONG)
    assert text.startswith("the user lacks rights: ")
    assert lacking in text
    assert "docs/operate.md shows the rights" in text
    assert "5f1c" not in text


def test_a_key_that_is_not_allowed_is_named(user_url: UserUrl) -> None:
    text = one(check_rights(user_url("resetkeys", "~{fiqa}:jobs", "~{fiqa}:d*")), State.WRONG)
    assert f"the key {QUEUE}, " in text
    assert f"the key _kombu.binding.{QUEUE}" in text
    assert "doctor" not in text


def test_another_prefix_of_keys_is_named_once_for_each_type(user_url: UserUrl) -> None:
    text = one(check_rights(user_url("resetkeys", "~other:*")), State.WRONG)
    assert text.count("the key {fiqa}:doctor:*:string") == 1


def test_every_command_of_the_lua_scripts_is_tried() -> None:
    tried = {line.split()[0] for line in _COMMANDS}
    for file in LUA.glob("*.lua"):
        used = set(re.findall(r"redis\.call\('([A-Z]+)'", script_text(file.stem)))
        assert used <= tried, file.name


def test_a_replica_and_a_dead_server_are_left_to_the_check_of_redis(redis_url: str) -> None:
    with replica(redis_url):
        assert "replica" in one(check_rights(redis_url), State.SKIPPED)
    assert "not checked" in one(check_rights(f"redis://127.0.0.1:{free_ports(1)}/0"), State.SKIPPED)


def test_a_full_redis_is_wrong(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as admin:
        admin.config_set("maxmemory", 1)
        try:
            text = one(check_rights(redis_url), State.WRONG)
        finally:
            admin.config_set("maxmemory", 0)
    assert "is full: raise its maxmemory" in text
