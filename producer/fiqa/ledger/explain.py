"""Explains an error of Redis, in one line that says what to do."""

from __future__ import annotations

from typing import Final

import redis

from fiqa.ledger.sentinel import SentinelError

_TRUST: Final = "shows a certificate that is not trusted: set ssl_ca_certs in FIQA_REDIS_URL"
_NO_TLS: Final = "does not speak TLS: use redis:// in FIQA_REDIS_URL"

# Errors that have no type in redis-py: a part of the error's text, and what to do.
_TEXTS: Final = {
    "hostname mismatch": "shows a certificate for another name: set that name in FIQA_REDIS_URL",
    "ip address mismatch": "shows a certificate for another name: set that name in FIQA_REDIS_URL",
    "unknown ca": "does not trust the client's certificate: set another ssl_certfile in FIQA_REDIS_URL",
    "max number of clients reached": "has no connection left: raise its maxclients",
    "db index is out of range": "has fewer databases: set a smaller number in FIQA_REDIS_URL",
    "protocol error": "does not answer as Redis does: set FIQA_REDIS_URL to the host and port of a Redis",
    "certificate verify failed": _TRUST,
    "wrong version number": _NO_TLS,
    "record layer failure": _NO_TLS,
    "certificate required": "asks for a certificate: set ssl_certfile and ssl_keyfile in FIQA_REDIS_URL",
}

# No server listens there. Or one does, and closes the connection at the first byte.
_NO_SERVER: Final = ("refused", "not known", "resolution", "resolve", "No such file", "unreachable")
_HUNG_UP: Final = ("reset by peer", "closed by server", "broken pipe")

# The first type that fits explains the error.
_TYPES: Final[tuple[tuple[type[redis.RedisError], str], ...]] = (
    (redis.AuthenticationError, "Redis at {where} refuses the login: check user and password in FIQA_REDIS_URL"),
    (redis.BusyLoadingError, "Redis at {where} is not ready ({text}): try again"),
    (redis.ConnectionError, "cannot reach Redis at {where} ({text}): start it, or set FIQA_REDIS_URL"),
    (redis.TimeoutError, "Redis at {where} does not answer in time: try again"),
    (
        redis.OutOfMemoryError,
        "Redis at {where} is full: raise its maxmemory, or keep jobs elsewhere with FIQA_STORAGE",
    ),
    (
        redis.ReadOnlyError,
        "Redis at {where} is a read-only replica: wait for the failover, or set FIQA_REDIS_URL",
    ),
    (
        redis.exceptions.NoPermissionError,
        "Redis at {where} refuses: {text}: docs/operate.md shows the rights that fiqa needs",
    ),
    (redis.RedisError, "Redis at {where} refuses: {text}"),
)


def explained(error: redis.RedisError, where: str) -> str:
    """Return what is wrong with the Redis at `where`, and what to do."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, redis.exceptions.MovedError):
        address = f"{error.host}:{error.port}"
        return (
            f"Redis at {where} is a node of a cluster, and the keys are at {address}: set {address} in FIQA_REDIS_URL"
        )
    for part, what in _TEXTS.items():
        if part in text.lower():
            return f"Redis at {where} {what} ({text})"
    if isinstance(error, SentinelError):
        return text
    if "sentinel" in where.partition("://")[0] and type(error) is redis.ConnectionError:
        return (
            f"cannot reach the master that Sentinel names ({text}): wait for the failover, start it, or let Sentinel"
            " announce an address that this machine reaches"
        )
    line = next(line for kind, line in _TYPES if isinstance(error, kind)).format(where=where, text=text)
    return line + _about_tls(error, where, text)


def _about_tls(error: redis.RedisError, where: str, text: str) -> str:
    """Return a hint if one side may speak TLS and the other may not."""
    if isinstance(error, redis.AuthenticationError | redis.BusyLoadingError):
        return ""
    if not isinstance(error, redis.ConnectionError | redis.TimeoutError) or any(part in text for part in _NO_SERVER):
        return ""
    if where.startswith("rediss://"):
        return "; if this port takes no TLS, use redis://; if it does, check the certificates"
    if where.startswith("redis://") and any(part in text.lower() for part in _HUNG_UP):
        return "; if this port takes TLS only, use rediss://"
    return ""


def is_passing(error: BaseException | None) -> bool:
    """Return whether Redis is up, and refuses only for a while. Then the settings are not wrong."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError | redis.exceptions.MovedError):
        return False
    is_full = isinstance(error, redis.ConnectionError) and "max number of clients" in str(error)
    return is_full or isinstance(error, redis.ResponseError | redis.BusyLoadingError)
