"""The rights of fiqa's user in Redis: every kind of command that fiqa sends is tried, on keys that expire."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import redis
from kombu.transport.redis import Channel

from fiqa.contract import DEFAULT_NAMESPACE
from fiqa.doctor.findings import Finding, State
from fiqa.doctor.redis import quick_connection
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.connection import Connection
from fiqa.ledger.explain import explained

_EXPIRES_MS: Final = 60_000

# What the ledger, its Lua scripts and kombu send. KEY stands for one key per type. These keys expire.
_COMMANDS: Final[tuple[str, ...]] = (
    *("PING", "TIME", "INFO memory", "SELECT {database}", "EXISTS {key}:string"),
    *("SET {key}:string 1 PX {ms}", "GET {key}:string", "INCR {key}:string", "INCRBY {key}:string 1"),
    *("DECR {key}:string", "DECRBY {key}:string 1", "SETEX {key}:string 60 1"),
    *("HSET {key}:hash a 1", "PEXPIRE {key}:hash {ms}", "HSETNX {key}:hash b 1", "HGET {key}:hash a"),
    *("HMGET {key}:hash a b", "HGETALL {key}:hash", "HKEYS {key}:hash", "HLEN {key}:hash", "HEXISTS {key}:hash a"),
    *("HINCRBY {key}:hash a 1", "HINCRBYFLOAT {key}:hash a 1.5", "HDEL {key}:hash b"),
    *("ZADD {key}:zset 1 a", "PEXPIRE {key}:zset {ms}", "ZSCORE {key}:zset a", "ZCARD {key}:zset"),
    *("ZRANGE {key}:zset 0 -1", "ZREVRANGE {key}:zset 0 -1", "ZRANGEBYSCORE {key}:zset 0 1"),
    *("ZREVRANGEBYSCORE {key}:zset 1 0", "ZREMRANGEBYSCORE {key}:zset 5 6", "ZREM {key}:zset b"),
    *("SADD {key}:set a b", "PEXPIRE {key}:set {ms}", "SMEMBERS {key}:set", "SREM {key}:set b"),
    *("LPUSH {key}:list a b c", "PEXPIRE {key}:list {ms}", "RPUSH {key}:list d", "LLEN {key}:list"),
    *("LRANGE {key}:list 0 -1", "RPOP {key}:list", "BRPOP {key}:list 1"),
    *("SETBIT {key}:bits 1 1", "PEXPIRE {key}:bits {ms}", "GETBIT {key}:bits 1", "BITCOUNT {key}:bits"),
    *("BITPOS {key}:bits 0", "TTL {key}:bits", "PTTL {key}:bits", "PERSIST {key}:bits", "EXPIRE {key}:bits 60"),
    # Commands on fiqa's real keys that change nothing.
    *(
        "LREM {keys.tickets} 1 doctor",
        "ZREM {keys.due} doctor",
        "ZREM {keys.jobs} doctor",
        "HDEL {keys.unacked} doctor",
    ),
    f"SREM {Channel.keyprefix_queue % '{keys.tickets}'} doctor",
    f"SREM {Channel.keyprefix_binding_permanent % '{keys.tickets}'} doctor",
    *("DEL {key}:string {key}:hash {key}:zset", "UNLINK {key}:set {key}:list {key}:bits"),
)


def check_rights(redis_url: str, namespace: str = DEFAULT_NAMESPACE) -> Iterator[Finding]:
    """Try what fiqa does in Redis. It leaves nothing behind.

    Raises:
        SettingsError: `redis_url` is not a Redis URL.
        RedisUnavailableError: the connection was cut.
    """
    with closing(quick_connection(redis_url, namespace)) as connection:
        try:
            connection.ping()
        except RedisUnavailableError:
            yield Finding("rights", State.SKIPPED, "not checked: Redis does not answer, or refuses")
            return
        lacking, refused = _try_all(connection)
    if lacking:
        text = f"the user lacks rights: {', '.join(lacking)}: docs/operate.md shows the rights that fiqa needs"
        yield Finding("rights", State.WRONG, text)
    elif isinstance(refused, redis.ReadOnlyError):
        yield Finding("rights", State.SKIPPED, "not checked: a replica takes no writes")
    elif refused:
        yield Finding("rights", State.WRONG, explained(refused, connection.where))
    else:
        yield Finding("rights", State.OK, "the user may do all that fiqa needs")


def _try_all(connection: Connection) -> tuple[list[str], redis.RedisError | None]:
    """Return what the user may not do, and the first error that has another reason."""
    key = f"{connection.keys.doctor}:{secrets.token_hex(4)}"
    database = connection.redis.connection_pool.connection_kwargs.get("db") or 0
    commands = [
        line.format(key=key, ms=_EXPIRES_MS, database=database, keys=connection.keys).split() for line in _COMMANDS
    ]
    # Any: in redis-py's types, no answer is an error.
    pipe: Any
    with connection.errors(), connection.redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers = pipe.execute(raise_on_error=False)
    lacking: dict[str, None] = {}
    refused = None
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, redis.exceptions.NoPermissionError):
            lacking[_missing(command, str(answer), key)] = None
        elif isinstance(answer, redis.RedisError) and not _follows(answer):
            refused = refused or answer
    for name, call in (("EVALSHA, SCRIPT LOAD", _script), ("WATCH, MULTI, EXEC", _transaction)):
        try:
            with connection.errors():
                call(connection, key)
        except RedisUnavailableError as error:
            # If the user may not call MULTI, Redis refuses EXEC since there was no MULTI.
            if isinstance(error.__cause__, redis.exceptions.NoPermissionError) or "MULTI" in str(error):
                lacking[name] = None
            elif isinstance(error.__cause__, redis.RedisError):
                refused = refused or error.__cause__
    return list(lacking), refused


def _missing(command: list[str], text: str, key: str) -> str:
    """Name what is missing: the command, or the key if the command is allowed for other keys."""
    if "key" not in text:
        return " ".join(command[:2]) if command[0] == "SCRIPT" else command[0]
    return f"the key {command[1].replace(key, key.rpartition(':')[0] + ':*')}"


def _follows(error: redis.RedisError) -> bool:
    """Return whether an answer is wrong only because an earlier command was refused."""
    return "not an integer" in str(error) or "WRONGTYPE" in str(error)


def _script(connection: Connection, key: str) -> None:
    job_id = key.rpartition(":")[2]  # no job has this id, so nothing is stored
    connection.redis.script_load("return 1")
    connection.script("store_once")(args=[job_id, "manifest", 0, b""])


def _transaction(connection: Connection, key: str) -> None:
    with connection.redis.pipeline(transaction=True) as pipe:
        pipe.watch(key)
        pipe.unwatch()
        pipe.multi()
        pipe.exists(key)
        pipe.execute()
