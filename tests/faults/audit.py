"""Checks a finished job: each image has one result, the counters equal the shards, and nothing is left in Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from fiqa import Client, ErrorCode, ImageResult, JobState, JobStatus, Status
from tests.faults.system import BROKEN, WORKERS, StuckError, System, wait_until
from tests.keys import ENDED, KEYS, LEASES, QUEUE, RECONCILER_LOCK, UNACKED, UNACKED_INDEX, UNACKED_MUTEX, job_key

_DUE_CODES: Final = {**BROKEN, "kills": "worker_crashed", "hangs": "time_limit", "stuck": "fetch_timeout"}
_REST_S: Final = 45.0
# For connections, their buffers, and the buffer of the append-only file.
_REST_SLACK_BYTES: Final = 2 * 1024 * 1024


@dataclass
class Audit:
    """What is wrong with a job. All of it is empty if nothing is wrong.

    Attributes:
        lost: number of images without a result.
        doubled: number of images with more than one.
        miscounted: counters that differ from the shards.
        stuck: what did not end in time.
        wrong: number of results with a code that no injury explains, by code and message.
        left: what is left in Redis.
        codes: number of images that failed, by code.
    """

    images: int
    lost: int = 0
    doubled: int = 0
    miscounted: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.miscounted or self.stuck or self.wrong or self.left)


def audit(
    system: System, client: Client, job_id: str, images: int, *, may_end_as: Collection[ErrorCode], timeout_s: float
) -> Audit:
    """Wait until a job is finished and the system is at rest, check the job, and delete it.

    Args:
        system: healed.
        client: of the job's storage.
        job_id: the job; its items have the ids "0", "1" and so on.
        images: how many.
        may_end_as: codes that the injuries explain.
        timeout_s: for the job to finish.
    """
    found = Audit(images)
    try:
        status = client.wait(job_id, timeout_s)
    except TimeoutError as error:
        found.stuck.append(f"{error}: {_where(system, job_id)}")
        return found
    results = list(client.results(job_id))
    ids = Counter(result.id for result in results)
    found.lost = sum(str(number) not in ids for number in range(images))
    found.doubled = sum(ids.values()) - len(ids)
    found.miscounted = _miscounted(status, results)
    for result in results:
        if result.error:
            found.codes[result.error.code] += 1
        _check_code(result, may_end_as, found)
    _check_rest(system, found)
    client.delete(job_id)
    _check_memory(system, found)
    return found


def _miscounted(status: JobStatus, results: list[ImageResult]) -> list[str]:
    by_status = Counter(result.status for result in results)
    models = Counter(f"{result.detector}/{result.quality_model}" for result in results)
    expected = {
        "state": JobState.SUCCEEDED,
        "images": len(results),
        "scored": by_status[Status.SCORED],
        "no_face": by_status[Status.NO_FACE],
        "failed": by_status[Status.FAILED],
        "failed_by_code": dict(Counter(result.error.code.value for result in results if result.error)),
        "faces": sum(len(result.faces) for result in results),
        "models": dict(models),
        "chunks_done": status.chunks,
    }
    return [
        f"{name} is {getattr(status, name)} and should be {value}"
        for name, value in expected.items()
        if getattr(status, name) != value
    ]


def _check_code(result: ImageResult, may_end_as: Collection[ErrorCode], found: Audit) -> None:
    name = result.uri.rpartition("/")[2].removesuffix(".jpg")
    due = _DUE_CODES.get(name)
    code = result.error.code.value if result.error else None
    if code != due and code not in may_end_as:
        message = f": {result.error.message}" if result.error else ""
        found.wrong[f"{code or result.status}{message}; due was {due or 'scored or no_face'}"] += 1


def _check_rest(system: System, found: Audit) -> None:
    with closing(system.server) as server:

        def left() -> dict[str, int]:
            counts = {
                "tickets": server.llen(QUEUE),
                "tickets held": server.hlen(UNACKED),
                "tickets held, by time": server.zcard(UNACKED_INDEX),
                "leases": server.zcard(LEASES),
                "jobs without a summary": server.zcard(ENDED),
                "orphans": len(system.running_orphans()),
                # Each idle worker waits in a blocking call for a ticket.
                "workers that ask for no ticket": max(0, WORKERS - server.info("clients")["blocked_clients"]),
            }
            return {name: count for name, count in counts.items() if count}

        try:
            wait_until("rest", lambda: not left(), _REST_S)
        except StuckError:
            found.left.append(f"at rest: {left()}")
    system.orphans.clear()


def _check_memory(system: System, found: Audit) -> None:
    with closing(system.server) as server:
        keys = sorted(
            key.decode()
            for key in server.scan_iter(count=1000)
            if not key.startswith((b"_kombu.", KEYS.workers.encode()))
            and key.decode() not in {RECONCILER_LOCK, UNACKED_MUTEX, KEYS.fingerprints, KEYS.expired, KEYS.overview}
        )
        if keys:
            found.left.append(f"{len(keys)} keys of a deleted job: {', '.join(keys[:5])}")
        try:
            wait_until(
                "memory at rest",
                lambda: server.info("memory")["used_memory"] < system.rest_bytes + _REST_SLACK_BYTES,
                _REST_S,
            )
        except StuckError:
            grown = server.info("memory")["used_memory"] - system.rest_bytes
            found.left.append(f"{grown:,} bytes of memory more than at rest")


def _where(system: System, job_id: str) -> str:
    """Return the state of a stuck job in Redis."""
    with closing(system.server) as server:
        keys = ("attempts", "holders", "in_flight", "quarantined")
        parts = {part: server.hgetall(job_key(job_id, part)) for part in keys}
        return (
            f"tickets {server.llen(QUEUE)}, held {server.hlen(UNACKED)}, hash {server.hgetall(job_key(job_id))},"
            f" leases {server.zrange(LEASES, 0, -1, withscores=True)}, clock {server.time()},"
            f" requeued {server.zrange(job_key(job_id, 'requeued'), 0, -1)}, {parts}"
        )
