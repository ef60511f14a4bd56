"""The workers that run: facts about each one, its last heartbeat, and its problems."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from fiqa.contract import SelfTest
from fiqa.ledger.connection import Connection
from fiqa.ledger.held import HeldChunk, held_chunks

# A worker reports a problem again for as long as it lasts, at most this often.
PROBLEM_REPORTED_EVERY_S: Final = 20.0
# After this a problem expires, since a process that was replaced cannot withdraw what it reported.
_PROBLEM_LASTS_S: Final = 90.0
_PROBLEM: Final = "problem:"
_READ: Final = "read:"
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that runs, as `fiqa workers` shows it. Times are Unix seconds of Redis's clock.

    Attributes:
        id: host name, process id of the main process and its start, as "host:pid:start".
        host: the machine's host name.
        pid: the process id of the main process.
        version: of fiqa.
        detector: name of the model and the beginning of its SHA-256.
        quality_model: the same.
        device: where the models run.
        allowed_sources: the URI prefixes that it may read.
        fingerprint: of all that decides scores. Workers with the same fingerprint give the same scores.
        self_test: the values of its models for two test images.
        processes: number of processes that score images.
        started: when it started.
        heartbeat: time of its last heartbeat.
        problems: its current problems by source or job, each in one line.
        sources_read: sources of which it has read an image.
        chunks: the chunks that it holds, oldest claim first.
    """

    id: str
    host: str
    pid: int
    version: str = ""
    detector: str = ""
    quality_model: str = ""
    device: str = ""
    allowed_sources: tuple[str, ...] = ()
    fingerprint: str = ""
    self_test: SelfTest = field(default_factory=SelfTest)
    processes: int = 0
    started: float = 0.0
    heartbeat: float = 0.0
    problems: Mapping[str, str] = field(default_factory=dict)
    sources_read: tuple[str, ...] = ()
    chunks: tuple[HeldChunk, ...] = ()


class Workers:
    """The registry of workers in Redis. Threads may share it.

    Every method raises RedisUnavailableError if Redis does not answer, or refuses.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys = connection.keys
        self._beat = connection.script("beat")

    def beat(self, worker: WorkerStatus, *, seconds: float) -> None:
        """Report that a worker runs, and that the next heartbeat comes within so many seconds.

        Args:
            worker: what it is. Its `heartbeat` and `problems` are not used.
            seconds: how long it counts as running without another heartbeat.
        """
        keys = [self._keys.workers, self._keys.fingerprints, self._keys.worker(worker.id)]
        facts = {name: value for name, value in asdict(worker).items() if name in _FACTS}
        with self._connection.errors():
            self._beat(keys=keys, args=[worker.id, worker.fingerprint, json.dumps(facts), seconds])

    def leave(self, worker_id: str) -> None:
        """Report that a worker takes no more chunks."""
        with self._connection.errors(), self._connection.redis.pipeline() as pipe:
            pipe.zrem(self._keys.workers, worker_id)
            pipe.unlink(self._keys.worker(worker_id))
            pipe.execute()

    def report(self, worker_id: str, subject: str, problem: str) -> None:
        """Report a problem of a worker. It is shown until it is withdrawn, or for 90 s after its last report.

        Args:
            worker_id: the worker. If it is not in the registry, nothing is reported.
            subject: a source or a job.
            problem: one line.
        """
        key = self._keys.worker(worker_id)
        with self._connection.errors():
            redis = self._connection.redis
            if redis.exists(key):
                until = self._connection.now() + _PROBLEM_LASTS_S
                redis.hset(key, _PROBLEM + subject, json.dumps({"until": until, "line": problem}))
                redis.expire(key, int(_PROBLEM_LASTS_S), nx=True)  # if it expired in between

    def report_read(self, worker_id: str, source: str) -> None:
        """Report that a worker has read an image of a source.

        Nothing is reported for a worker that is not in the registry.
        """
        key = self._keys.worker(worker_id)
        with self._connection.errors():
            if self._connection.redis.exists(key):
                self._connection.redis.hset(key, _READ + source, 1)
                self._connection.redis.expire(key, int(_PROBLEM_LASTS_S), nx=True)  # if it expired in between

    def withdraw(self, worker_id: str, subject: str) -> None:
        """Report that a problem is over."""
        with self._connection.errors():
            self._connection.redis.hdel(self._keys.worker(worker_id), _PROBLEM + subject)

    def all(self) -> list[WorkerStatus]:
        """Return the workers that run, by host and process id."""
        held = held_chunks(self._connection)
        found = (replace(worker, chunks=held.get(worker.id, ())) for worker in self.each())
        return sorted(found, key=lambda worker: (worker.host, worker.pid, worker.id))

    def each(self) -> Iterator[WorkerStatus]:
        """Yield the workers that run, in no particular order, without their chunks. A hundred are read at a time."""
        now = self._connection.now()
        start = 0
        while True:
            with self._connection.errors():
                page = self._connection.redis.zrange(self._keys.workers, start, start + _PAGE - 1, withscores=True)
                with self._connection.redis.pipeline(transaction=False) as pipe:
                    for raw, _ in page:
                        pipe.hgetall(self._keys.worker(raw.decode()))
                    found = pipe.execute()
            for (raw, _), worker in zip(page, found, strict=True):
                if b"facts" in worker:  # else its last heartbeat was too long ago, and no other worker dropped it
                    yield _read(raw.decode(), worker, now)
            if len(page) < _PAGE:
                return
            start += _PAGE


_CHANGING: Final = frozenset({"id", "heartbeat", "problems", "sources_read", "chunks"})
_FACTS: Final = tuple(each.name for each in fields(WorkerStatus) if each.name not in _CHANGING)
_SELF_TEST: Final = frozenset(each.name for each in fields(SelfTest))


def _read(worker_id: str, found: Mapping[bytes, bytes], now: float) -> WorkerStatus:
    # A newer version may have other facts, and lack some of these.
    facts: dict[str, Any] = json.loads(found[b"facts"])
    problems = {
        name.decode().removeprefix(_PROBLEM): json.loads(value)
        for name, value in sorted(found.items())
        if name.startswith(_PROBLEM.encode())
    }
    known: dict[str, Any] = {"host": "", "pid": 0, **{name: facts[name] for name in _FACTS if name in facts}}
    tested = {name: value for name, value in facts.get("self_test", {}).items() if name in _SELF_TEST}
    return WorkerStatus(
        **known | {"allowed_sources": tuple(facts.get("allowed_sources", ())), "self_test": SelfTest(**tested)},
        id=worker_id,
        heartbeat=float(found[b"heartbeat"]),
        sources_read=tuple(name.decode().removeprefix(_READ) for name in found if name.startswith(_READ.encode())),
        problems={subject: problem["line"] for subject, problem in problems.items() if problem["until"] > now},
    )
