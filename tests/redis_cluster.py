"""A real Redis Cluster without replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.crc import key_slot

from tests.servers import free_ports, start_redis
from tests.waiting import wait_until

_SLOTS: Final = 16384


@contextmanager
def start_cluster(folder: Path, shards: int) -> Iterator[list[str]]:
    """Start a cluster whose nodes share the slots; yields their URLs, in the order of their slots."""
    with ExitStack() as stack:
        nodes: list[Any] = []  # some of redis-py's commands have no types
        urls, buses = [], [free_ports(1) for _ in range(shards)]
        for number, bus in enumerate(buses):
            (folder / str(number)).mkdir(parents=True)
            config = {"cluster-enabled": "yes", "cluster-port": str(bus)}
            urls.append(stack.enter_context(start_redis(folder / str(number), config)).url)
            nodes.append(stack.enter_context(closing(redis.Redis.from_url(urls[-1]))))
            first, after = (_SLOTS * part // shards for part in (number, number + 1))
            nodes[-1].execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
            nodes[-1].execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for url, bus in zip(urls[1:], buses[1:], strict=True):
            port = url.rpartition(":")[2].partition("/")[0]
            nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        wait_until(lambda: all(_is_whole(node, shards) for node in nodes))
        yield urls


def node_of(key: str, urls: list[str]) -> str:
    """Return the URL of the node that has a key."""
    return urls[key_slot(key.encode()) * len(urls) // _SLOTS]


def _is_whole(node: Any, shards: int) -> bool:
    found = set(node.execute_command("CLUSTER", "INFO").decode().split())
    return {"cluster_state:ok", f"cluster_known_nodes:{shards}"} <= found
