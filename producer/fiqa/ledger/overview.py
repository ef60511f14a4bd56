"""Figures over all jobs, for a worker's metrics.

Redis keeps them for some seconds. So one worker reads them, and the others get them with one command.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from fiqa.contract import JobState, Priority
from fiqa.ledger.connection import Connection
from fiqa.ledger.job_hash import RANKS

KEPT_S: Final = 10.0
_PAGE: Final = 1000
_PRIORITIES: Final = {str(rank): priority for priority, rank in RANKS.items()}


@dataclass(frozen=True, slots=True)
class Overview:
    """Figures over all jobs in a ledger. None of them names a job.

    Attributes:
        jobs: number of jobs by state.
        images_left: number of images without a result in running jobs, by priority.
        chunks_unclaimed: number of chunks that can be claimed.
        tickets: number of tickets that wait in the queue.
        leases: number of chunks that workers hold.
        leases_expired: number of leases that have expired since Redis was empty.
        workers: number of workers that run.
        oldest_queued_s: age of the oldest running job of which no chunk was claimed yet; 0 if there is none.
    """

    jobs: Mapping[str, int]
    images_left: Mapping[str, int]
    chunks_unclaimed: int
    tickets: int
    leases: int
    leases_expired: int
    workers: int
    oldest_queued_s: float


def read_overview(connection: Connection) -> Overview:
    """Return figures that are at most 10 s old.

    Raises:
        RedisUnavailableError: Redis does not answer, or refuses.
    """
    with connection.errors():
        kept = connection.redis.get(connection.keys.overview)
    if kept:
        try:
            return Overview(**json.loads(kept))
        except TypeError:  # a worker of another version wrote it
            pass
    overview = _read(connection)
    with connection.errors():
        connection.redis.set(connection.keys.overview, json.dumps(asdict(overview)), px=int(1000 * KEPT_S))
    return overview


def _read(connection: Connection) -> Overview:
    now = connection.now()
    keys, count_page = connection.keys, connection.script("overview")
    jobs: Counter[str] = Counter(dict.fromkeys(JobState, 0))
    images_left: Counter[str] = Counter(dict.fromkeys(Priority, 0))
    oldest, start, found = now, 0, _PAGE
    while found == _PAGE:
        with connection.errors():
            size, created, *counts = count_page(args=[start, start + _PAGE - 1])
        found, start = int(size), start + _PAGE
        oldest = min(oldest, float(created) or now)
        border = counts.index(b"")
        for state, number in zip(counts[:border:2], counts[1:border:2], strict=True):
            jobs[state.decode()] += int(number)
        for rank, number in zip(counts[border + 1 :: 2], counts[border + 2 :: 2], strict=True):
            images_left[_PRIORITIES.get(rank.decode(), Priority.NORMAL)] += int(number)
    with connection.errors(), connection.redis.pipeline(transaction=False) as pipe:
        pipe.get(keys.unclaimed)
        pipe.llen(keys.tickets)
        pipe.zcard(keys.leases)
        pipe.get(keys.expired)
        pipe.zcount(keys.workers, now, "+inf")
        unclaimed, tickets, leases, expired, workers = pipe.execute()
    # A state or priority that this version does not know is not shown: clients could make any number of them.
    return Overview(
        jobs={state.value: jobs[state] for state in JobState},
        images_left={priority.value: images_left[priority] for priority in Priority},
        chunks_unclaimed=max(0, int(unclaimed or 0)),
        tickets=tickets,
        leases=leases,
        leases_expired=int(expired or 0),
        workers=workers,
        oldest_queued_s=round(now - oldest, 3),
    )
