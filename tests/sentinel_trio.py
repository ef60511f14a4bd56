"""A real Redis with a replica, and three Sentinels that watch them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from tests.servers import free_ports, redis_is_embedded, server_process, start_redis
from tests.waiting import wait_until

PASSWORD: Final = "of/the,servers"  # noqa: S105  of a test server
SENTINELS_PASSWORD: Final = "of?the&sentinels"  # noqa: S105  the same
# Longer than a loaded machine stalls, so that no failover comes without a cause.
DOWN_AFTER_MS: Final = 3000


@dataclass(frozen=True)
class Trio:
    """Three Sentinels.

    Attributes:
        ports: of the Sentinels.
        servers: a way to kill each Redis, by its port.
    """

    ports: tuple[int, ...]
    servers: Mapping[int, ExitStack]

    @property
    def addresses(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def master_port(self) -> int:
        with closing(sentinel_client(self.ports[-1])) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1])

    def kill_master(self) -> int:
        """Kill the master with SIGKILL; returns its port."""
        port = self.master_port
        self.servers[port].close()
        return port


def sentinel_client(port: int, password: str | None = SENTINELS_PASSWORD) -> Any:
    """Any: some of redis-py's commands have no types."""
    return redis.Redis(port=port, password=password, protocol=2)


@contextmanager
def start_trio(folder: Path) -> Iterator[Trio]:
    """Start all five servers. At the end of the block, they are killed.

    The Sentinels also watch a master named `dead`, which does not run.
    """
    if redis_is_embedded():
        pytest.skip("the embedded Valkey has no Sentinel")
    first, second = (free_ports(1) for _ in range(2))
    login = {"requirepass": PASSWORD, "masterauth": PASSWORD}
    with ExitStack() as stack:
        servers = {}
        for port in (first, second):
            (folder / str(port)).mkdir()
            of_master = {"replicaof": f"127.0.0.1 {first}"} if port == second else {}
            servers[port] = stack.enter_context(ExitStack())
            servers[port].enter_context(
                start_redis(folder / str(port), {**login, **of_master}, port, password=PASSWORD)
            )
        ports = tuple(free_ports(1) for _ in range(3))
        watched = {"mymaster": first, "dead": free_ports(1)}
        for port in ports:
            stack.enter_context(start_sentinel(folder / str(port), port, watched))
        with closing(sentinel_client(ports[0])) as client:
            wait_until(lambda: _is_complete(client))
        yield Trio(ports, servers)


def _is_complete(client: Any) -> bool:
    state = client.sentinel_master("mymaster")
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 and state["is_master"])


@contextmanager
def start_sentinel(folder: Path, port: int, watched: Mapping[str, int], more: str = "") -> Iterator[None]:
    """Start a Sentinel that watches these masters, by name and port.

    Args:
        folder: for its configuration, which it changes.
        port: its own port; 0 if `more` gives one.
        watched: name and port of each master.
        more: more lines of its configuration.
    """
    folder.mkdir()
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", f'requirepass "{SENTINELS_PASSWORD}"', more]
    for name, at in watched.items():
        lines += [
            f"sentinel monitor {name} 127.0.0.1 {at} 2",
            f'sentinel auth-pass {name} "{PASSWORD}"',
            f"sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {name} 10000",
        ]
    config = folder / "sentinel.conf"
    config.write_text("\n".join(lines) + "\n")
    with server_process(["redis-server", str(config), "--sentinel"], port):
        yield
