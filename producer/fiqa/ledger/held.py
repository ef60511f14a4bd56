"""The chunks that workers hold now, from the leases and their fencing tokens.

They are read only if somebody asks for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from fiqa.ledger.connection import Connection


@dataclass(frozen=True, slots=True)
class HeldChunk:
    """A chunk in work.

    Attributes:
        job: the job's id.
        chunk: its number.
        since: when it was claimed, in Unix seconds of Redis's clock.
    """

    job: str
    chunk: int
    since: float


def held_chunks(connection: Connection) -> Mapping[str, tuple[HeldChunk, ...]]:
    """Return the chunks that each worker holds, by the worker's id, oldest claim first.

    Raises:
        RedisUnavailableError: Redis does not answer, or refuses.
    """
    chunks: dict[str, list[str]] = defaultdict(list)
    with connection.errors():
        for lease in connection.redis.zrangebyscore(connection.keys.leases, connection.now(), "+inf"):
            job, _, chunk = lease.decode().rpartition(":")
            chunks[job].append(chunk)
        with connection.redis.pipeline(transaction=False) as pipe:
            for job, numbers in chunks.items():
                pipe.hmget(connection.keys.job(job, "holders"), numbers)
            tokens = pipe.execute()
    held: dict[str, list[HeldChunk]] = defaultdict(list)
    for (job, numbers), of_job in zip(chunks.items(), tokens, strict=True):
        for chunk, token in zip(numbers, of_job, strict=True):
            since, _, worker = (token or b"").decode().partition("@")
            if worker:  # else the lease ended just now
                held[worker].append(HeldChunk(job, int(chunk), int(since) / 1e6))
    return {worker: tuple(sorted(found, key=lambda each: each.since)) for worker, found in held.items()}
