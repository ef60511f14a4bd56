"""The connection to Redis, which the ledger and the Redis storage share: its options, its errors, its Lua scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from fiqa.errors import RedisUnavailableError, SettingsError
from fiqa.ledger.lua import script_text
from fiqa.settings import NOT_A_REDIS_URL

if TYPE_CHECKING:
    from redis.commands.core import Script


def connection_options(redis_url: str) -> dict[str, Any]:
    """Return the timeouts and health checks that every connection to Redis uses: the ledger's and the broker's."""
    options = {"socket_connect_timeout": 5, "socket_timeout": 10, "health_check_interval": 30}
    # A Unix socket has no keep-alive, and redis-py rejects the option for one.
    return options if redis_url.startswith("unix://") else {**options, "socket_keepalive": True}


class Connection:
    """A pool of connections to one Redis. Threads may share it.

    Attributes:
        redis: the redis-py client. Call it inside `errors()`.
    """

    def __init__(self, redis_url: str) -> None:
        """Check the URL. The first command connects.

        Raises:
            SettingsError: `redis_url` is not a Redis URL.
        """
        try:
            self._where = _redacted(redis_url)
            # Any: redis-py types every answer as the union of all modes that a connection can be in.
            self.redis: Any = redis.Redis.from_url(
                redis_url,
                # Retry if the connection was cut, but not if Redis hangs: four tries would take 10 s each.
                retry=Retry(ExponentialBackoff(cap=1, base=0.1), 3, supported_errors=(redis.ConnectionError,)),
                **connection_options(redis_url),
            )
            # Make one connection and throw it away: redis-py rejects unknown options of the URL only here.
            pool = self.redis.connection_pool
            pool.connection_class(**pool.connection_kwargs)
            # If the database is not a number, redis-py takes database 0, and Celery prints a traceback.
            if not redis_url.startswith("unix://"):
                int(urlsplit(redis_url).path.strip("/") or 0)
        except (TypeError, ValueError):
            # Do not quote redis-py: its message shows a password that holds a slash.
            raise SettingsError(f"FIQA_REDIS_URL: {NOT_A_REDIS_URL}") from None

    def script(self, name: str) -> Script:
        """Return the Lua script `name`.lua. A call sends only its hash (EVALSHA), once Redis knows it."""
        script: Script = self.redis.register_script(script_text(name))
        return script

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn redis-py's errors into a RedisUnavailableError: one line that says what to do."""
        try:
            yield
        except redis.AuthenticationError as error:
            raise RedisUnavailableError(
                f"Redis at {self._where} refuses the login: check user and password in FIQA_REDIS_URL"
            ) from error
        except redis.ConnectionError as error:
            raise RedisUnavailableError(
                f"cannot reach Redis at {self._where} ({_first_line(error)}): start it, or set FIQA_REDIS_URL"
            ) from error
        except redis.TimeoutError as error:
            raise RedisUnavailableError(f"Redis at {self._where} does not answer in time: try again") from error
        except redis.OutOfMemoryError as error:
            raise RedisUnavailableError(
                f"Redis at {self._where} is full: raise its maxmemory, or keep jobs elsewhere with FIQA_STORAGE"
            ) from error
        except redis.RedisError as error:
            raise RedisUnavailableError(f"Redis at {self._where} refused: {_first_line(error)}") from error

    def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            RedisUnavailableError: it does not answer, or refuses.
        """
        with self.errors():
            self.redis.ping()

    def now(self) -> float:
        """Return the time of Redis's clock in Unix seconds.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        with self.errors():
            seconds, micros = self.redis.time()
        return float(seconds) + float(micros) / 1e6

    def close(self) -> None:
        """Close all connections of the pool."""
        self.redis.close()


def _redacted(url: str) -> str:
    """Return the URL without user, password and options: one of the options may be a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
