"""What a process knows about the other workers, and what it reports about itself.

It needs this to decide whether a failure is the fault of this machine.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.doubts import MACHINES_NEEDED, NEVER_ENOUGH
from fiqa.ledger.workers import PROBLEM_REPORTED_EVERY_S, Workers, WorkerStatus
from fiqa_worker.pipeline.roots import allows

_log = logging.getLogger(__name__)

# A registry of 5,000 workers takes 0.1 s to read.
_READ_EVERY_S: Final = 5.0
# A limit is needed, since a job may name any number of buckets.
_SOURCES_REPORTED: Final = 100
# It is reported again and again: if the heartbeat expires during an outage of Redis, the report is lost with it.
_READ_REPORTED_EVERY_S: Final = 60.0


class Fleet:
    """The registry of workers as one process sees it. Use it in one thread only."""

    def __init__(
        self,
        workers: Workers,
        *,
        machine: str,
        worker_id: str,
        allowed: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create it. The registry is not read yet.

        `claims_as` is the name under which the process claims chunks. With it, the process does not get a chunk again
        that waits for other machines. It is empty if the registry had no other machine when it was last read.
        `machine` and `worker_id` are as given.

        Args:
            workers: the registry.
            machine: the name of this machine.
            worker_id: the id of the worker that this process belongs to.
            allowed: the URI prefixes that this worker may read.
            clock: a function like time.monotonic.
        """
        self._workers = workers
        self.machine = self.claims_as = machine
        self.worker_id = worker_id
        self._allowed = allowed
        self._clock = clock
        self._read_at: float | None = None
        self._others: list[WorkerStatus] = []
        self._reported: dict[str, tuple[str, float]] = {}
        self._read: dict[str, float] = {}

    def needed(self, uri: str, root: str, fingerprint: str) -> int:
        """Return how many machines, this one included, must have seen the failure of an image before it is a result.

        A machine counts if one of its workers fits the job, may read the image, and does not report that it cannot read
        the source. If a machine that counts has read the source, and this machine has not, the return value is
        NEVER_ENOUGH: any number of machines may be wrong in the same way.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        able = [
            worker
            for worker in self._fitting(fingerprint)
            if allows(worker.allowed_sources, uri) and root not in worker.problems
        ]
        readers = {worker.host for worker in able if root in worker.sources_read}
        machines = {self.machine, *(worker.host for worker in able)}
        self.claims_as = self.machine if len(machines) > 1 else ""
        if readers and self.machine not in readers:
            return NEVER_ENOUGH
        return min(MACHINES_NEEDED, len(machines))

    def is_alone(self, fingerprint: str) -> bool:
        """Return True if no other machine has a worker that fits the job.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        alone = all(worker.host == self.machine for worker in self._fitting(fingerprint))
        self.claims_as = "" if alone else self.machine
        return alone

    def may_read_more(self, uris: Sequence[str], fingerprint: str) -> bool:
        """Return whether another machine is allowed to read more of these images than this one.

        Only images count that at least one worker may read. The result is True if this worker may not read all of them,
        and a worker on another machine may.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        others = {worker.allowed_sources for worker in self._fitting(fingerprint) if worker.host != self.machine}
        readable = [uri for uri in uris if allows(self._allowed, uri) or any(allows(each, uri) for each in others)]
        return not all(allows(self._allowed, uri) for uri in readable) and any(
            all(allows(each, uri) for uri in readable) for each in others
        )

    def report(self, root: str, subject: str, problem: str) -> None:
        """Show in `fiqa workers` what this process cannot do. Each subject is reported at most every 20 s."""
        now = self._clock()
        _, last = self._reported.get(subject, (root, None))
        if last is not None and now - last < PROBLEM_REPORTED_EVERY_S:
            return
        self._reported[subject] = (root, now)
        with suppress(RedisUnavailableError):  # it will be reported again
            self._workers.report(self.worker_id, subject, problem)

    def does_not_fit(self, job_id: str, fingerprint: str) -> None:
        """Report a job that this worker leaves to others."""
        subject = f"job {job_id}"
        problem = (
            f"left to other workers: its scores come from other models, settings or another version than {fingerprint}"
        )
        if subject not in self._reported:
            _log.warning("%s: %s", subject, problem)
        self.report(subject, subject, problem)

    def has_read(self, roots: set[str]) -> None:
        """Call this when the process has read images of these sources.

        Each is reported once a minute, and its problems are withdrawn.
        """
        now = self._clock()
        for root in roots:
            last = self._read.get(root)
            if now - last < _READ_REPORTED_EVERY_S if last is not None else len(self._read) == _SOURCES_REPORTED:
                continue
            self._read[root] = now
            with suppress(RedisUnavailableError):  # it will be reported again
                self._workers.report_read(self.worker_id, root)
        for subject in [subject for subject, (root, _) in self._reported.items() if root in roots]:
            with suppress(RedisUnavailableError):
                self._workers.withdraw(self.worker_id, subject)
                del self._reported[subject]
                _log.info("%s: this worker can read it again", subject)

    def _fitting(self, fingerprint: str) -> list[WorkerStatus]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= _READ_EVERY_S:
            self._others = list(self._workers.each())
            self._read_at = now
        if fingerprint in {"", "*"}:
            return self._others
        return [worker for worker in self._others if worker.fingerprint in {"", fingerprint}]
