"""Checks Redis: whether it answers, keeps its data, and is a server that fiqa can use."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import redis

from fiqa.contract import DEFAULT_NAMESPACE
from fiqa.doctor.findings import Finding, State
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.connection import Connection
from fiqa.text import count

_LEAST_VERSION: Final = (7, 0)
_NEARLY_FULL: Final = 0.8
_CLOCKS_MAY_DIFFER_S: Final = 2.0


def quick_connection(redis_url: str, namespace: str) -> Connection:
    """Connect as clients do, but wait for 4 s only, unless the URL has other times.

    Raises:
        SettingsError: `redis_url` is not a Redis URL.
    """
    added = [f"{name}=4" for name in ("socket_connect_timeout", "socket_timeout") if f"{name}=" not in redis_url]
    url = redis_url + ("&" if "?" in redis_url else "?") + "&".join(added) if added else redis_url
    return Connection(url, namespace, max_connections=1)


def check_redis(redis_url: str, namespace: str = DEFAULT_NAMESPACE) -> Iterator[Finding]:
    """Look at a Redis.

    Raises:
        SettingsError: `redis_url` is not a Redis URL.
        RedisUnavailableError: it does not answer, or refuses.
    """
    with closing(quick_connection(redis_url, namespace)) as connection:
        connection.check_namespace()  # the first command also connects
        started = time.perf_counter()
        connection.ping()
        ms = (time.perf_counter() - started) * 1000
        try:
            with connection.errors():
                facts: dict[str, Any] = connection.redis.info()
        except RedisUnavailableError as error:
            if not isinstance(error.__cause__, redis.exceptions.NoPermissionError):
                raise
            yield Finding("redis", State.OK, f"{connection.where} answers in {ms:.1f} ms")
            yield from (Finding("redis", State.WARNING, problem) for problem in connection.check_server())
        else:
            yield _version(connection.where, facts, ms)
            yield from _memory(connection, facts)
            yield _persistence(facts)
            yield _role(facts)
            yield from _connections(facts)
        yield _clock(connection)


def _version(where: str, facts: Mapping[str, Any], ms: float) -> Finding:
    text = str(facts.get("redis_version", ""))
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {text}"
    answers = f"{name} at {where} answers in {ms:.1f} ms"
    if tuple(int(part) for part in re.findall(r"\d+", text)[:2]) < _LEAST_VERSION:
        return Finding("redis", State.WRONG, f"{answers}, but it is too old: install Redis 7.0 or newer, or Valkey")
    return Finding("redis", State.OK, answers)


def _memory(connection: Connection, facts: Mapping[str, Any]) -> Iterator[Finding]:
    problems = connection.check_server()
    yield from (Finding("memory", State.WRONG, problem) for problem in problems)
    used, most = int(facts["used_memory"]), int(facts["maxmemory"])
    text = f"{_mb(used)} used of {_mb(most)}" if most else f"{_mb(used)} used, without a limit"
    if most and used >= most:
        yield Finding("memory", State.WRONG, f"Redis is full ({text}): raise its maxmemory, or delete jobs")
    elif most and used >= _NEARLY_FULL * most:
        yield Finding("memory", State.WARNING, f"Redis is nearly full ({text}): raise its maxmemory, or delete jobs")
    elif not problems:
        yield Finding("memory", State.OK, f"{text}; maxmemory-policy {facts.get('maxmemory_policy', 'noeviction')}")


def _persistence(facts: Mapping[str, Any]) -> Finding:
    for field, what, state in (
        ("aof_last_write_status", "write of the append-only file", State.WRONG),  # Redis refuses writes
        ("aof_last_bgrewrite_status", "rewrite of the append-only file", State.WARNING),
        (
            "rdb_last_bgsave_status",
            "snapshot",
            State.WARNING,
        ),  # if Redis refused writes because of this, it would refuse PING too
    ):
        if facts.get(field, "ok") != "ok":
            text = f"the last {what} of Redis failed: read its log, and free space on its disk"
            return Finding("persistence", state, text)
    if facts.get("aof_enabled"):
        return Finding("persistence", State.OK, "the append-only file is on")
    text = "the append-only file is off, so a restart may lose jobs: set appendonly yes and appendfsync everysec"
    return Finding("persistence", State.WARNING, text)


def _role(facts: Mapping[str, Any]) -> Finding:
    if facts.get("role") != "master":
        of = f"{facts.get('master_host', '?')}:{facts.get('master_port', '?')}"
        return Finding("role", State.WRONG, f"a read-only replica of {of}: set FIQA_REDIS_URL to the master")
    return Finding("role", State.OK, f"master with {count(int(facts.get('connected_slaves', 0)), 'replica')}")


def _connections(facts: Mapping[str, Any]) -> Iterator[Finding]:
    used, most = int(facts.get("connected_clients", 0)), int(facts.get("maxclients", 0))
    if most and used >= _NEARLY_FULL * most:
        text = f"{used:,} of {most:,} connections are in use: raise the maxclients of Redis"
        yield Finding("connections", State.WARNING, text)


def _clock(connection: Connection) -> Finding:
    # The shortest of three round trips has the smallest error: at most half its length.
    _, difference = min(_round_trip(connection) for _ in range(3))
    if abs(difference) < _CLOCKS_MAY_DIFFER_S:
        return Finding("clock", State.OK, "this machine and Redis have the same time")
    text = f"this machine's clock is {abs(difference):,.0f} s {'later' if difference > 0 else 'earlier'} than Redis's"
    return Finding("clock", State.WARNING, f"{text}: set both by NTP, since S3 refuses requests with a wrong time")


def _round_trip(connection: Connection) -> tuple[float, float]:
    """Ask Redis for its time. Return how long that took, and by how much this machine's clock is later, in seconds."""
    before = time.time()
    theirs = connection.now()
    after = time.time()
    return after - before, (before + after) / 2 - theirs


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
