"""The connection to Redis, which the ledger and the Redis storage share: its options, its errors, its Lua scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from fiqa.contract import DEFAULT_NAMESPACE
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.explain import explained, is_passing
from fiqa.ledger.keys import Keys
from fiqa.ledger.lua import script_text
from fiqa.ledger.redis_url import connection_arguments, shown_url

# How long a thread waits for a connection that another thread uses. It is longer than a command takes until it fails.
_TURN_S: Final = 30.0


class Connection:
    """A pool of connections to one Redis. Threads may share it.

    Attributes:
        redis: the redis-py client. Call it inside `errors()`.
        where: the URL without user, password and options, for messages.
        namespace: the namespace of this installation of fiqa.
        keys: the keys of this namespace.
    """

    def __init__(
        self, redis_url: str, namespace: str = DEFAULT_NAMESPACE, *, max_connections: int | None = None
    ) -> None:
        """Check the URL. The first command connects.

        Args:
            redis_url: redis://, rediss://, unix:// or sentinel://.
            namespace: the namespace of the keys.
            max_connections: if all are in use, a thread waits for one. None: each thread may have its own.

        Raises:
            SettingsError: `redis_url` is not a Redis URL.
        """
        # Retry if the connection was cut, but not if Redis hangs: four tries would take 10 s each.
        retry = Retry(ExponentialBackoff(cap=1, base=0.1), 3, supported_errors=(redis.ConnectionError,))
        arguments = connection_arguments(redis_url) | {"retry": retry}
        self.where = shown_url(redis_url)
        self.namespace = namespace
        self.keys = Keys(namespace)
        pool: Any = (
            redis.BlockingConnectionPool(max_connections=max_connections, timeout=_TURN_S, **arguments)  # type: ignore[no-untyped-call]  # half typed
            if max_connections
            else redis.ConnectionPool(**arguments)
        )
        # Any: redis-py types every answer as the union of all modes that a connection can be in.
        self.redis: Any = redis.Redis.from_pool(pool)

    def script(self, name: str) -> Callable[..., Any]:
        """Return the Lua script `name`.lua. A call sends only its hash (EVALSHA), once Redis knows it."""
        # One key stands for all: the others are in the same slot.
        return partial(self.redis.register_script(script_text(name, self.namespace)), keys=[self.keys.jobs])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn redis-py's errors into a RedisUnavailableError: one line that says what to do."""
        try:
            yield
        except redis.RedisError as error:
            # After a failover, the host name in the URL leads to another server, but open connections stay at the old
            # one, which refuses every write if it has become a replica. So close them: the next command connects again.
            self.redis.connection_pool.disconnect(inuse_connections=False)
            raise RedisUnavailableError(explained(error, self.where)) from error

    def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            RedisUnavailableError: it does not answer, or refuses.
        """
        with self.errors():
            self.redis.ping()

    def check_namespace(self) -> None:
        """Check that this Redis serves the keys of the namespace: a node of a cluster may not.

        Raises:
            RedisUnavailableError: it does not, or the user may not read them.
        """
        with self.errors():
            self.redis.exists(self.keys.jobs)

    def wait_until_ready(
        self, on_wait: Callable[[RedisUnavailableError], object], *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Wait until Redis takes commands, if it is up but refuses for now: it loads, is busy or fails over.

        Args:
            on_wait: called once with the error, if it has to wait.
            sleep: a function like time.sleep.

        Raises:
            RedisUnavailableError: it does not answer, or refuses this user. The settings may be wrong.
        """
        waited = False
        while True:
            try:
                self.ping()
                return self.check_namespace()
            except RedisUnavailableError as error:
                if not is_passing(error.__cause__):
                    raise
                if not waited:
                    on_wait(error)
                waited = True
            sleep(1)

    def check_server(self) -> list[str]:
        """Return the problems of the configuration of this Redis, each in one line.

        Raises:
            RedisUnavailableError: it does not answer, or refuses.
        """
        try:
            with self.errors():
                policy = self.redis.info("memory").get("maxmemory_policy", "noeviction")
        except RedisUnavailableError as error:
            if isinstance(error.__cause__, redis.exceptions.NoPermissionError):
                return [f"cannot check whether Redis at {self.where} evicts keys: its user lacks the permission +info"]
            raise
        if policy == "noeviction":
            return []
        what = f"Redis at {self.where} evicts keys when it is full (maxmemory-policy {policy})"
        return [f"{what}: jobs and results would be lost silently: set maxmemory-policy noeviction"]

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
