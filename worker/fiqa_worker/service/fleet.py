"""What the other workers are, for a worker that doubts its own failures; and what it reports of itself."""

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
# A job may name any number of buckets.
_SOURCES_REPORTED: Final = 100
# Again, since it goes with the worker's heartbeat while Redis is away.
_READ_REPORTED_EVERY_S: Final = 60.0


class Fleet:
    """The registry as one process sees it. For one thread."""

    def __init__(
        self,
        workers: Workers,
        *,
        machine: str,
        worker_id: str,
        allowed: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet.

        `claims_as` is the name under which the process claims chunks, so that it does not get those again that wait for
        other machines. It is empty if there was no other machine when it was last looked for.

        Args:
            workers: the registry.
            machine: the name of this machine.
            worker_id: the worker that this process belongs to.
            allowed: the URI prefixes that it may read.
            clock: as time.monotonic.
        """
        self._workers = workers
        self.machine = self.claims_as = machine
        self._worker_id = worker_id
        self._allowed = allowed
        self._clock = clock
        self._read_at: float | None = None
        self._others: list[WorkerStatus] = []
        self._reported: dict[str, tuple[str, float]] = {}
        self._read: dict[str, float] = {}

    def needed(self, uri: str, root: str, fingerprint: str) -> int:
        """Return how many machines must have seen the failure of an image, with this one.

        A machine can be asked if one of its workers fits the job, may read the image, and does not report that it
        cannot read the source. If one of them has read the source and this machine has not, it is NEVER_ENOUGH: any
        number of machines may be wrong alike.

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
        """Return whether no other machine runs that fits the job.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        alone = all(worker.host == self.machine for worker in self._fitting(fingerprint))
        self.claims_as = "" if alone else self.machine
        return alone

    def may_read_more(self, uris: Sequence[str], fingerprint: str) -> bool:
        """Return whether another machine may read all of these images that any worker may read, and this one may not.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        others = {worker.allowed_sources for worker in self._fitting(fingerprint) if worker.host != self.machine}
        readable = [uri for uri in uris if allows(self._allowed, uri) or any(allows(each, uri) for each in others)]
        return not all(allows(self._allowed, uri) for uri in readable) and any(
            all(allows(each, uri) for uri in readable) for each in others
        )

    def report(self, root: str, subject: str, problem: str) -> None:
        """Show in `fiqa workers` what this process cannot do; at most every 20 s, since it is tried again and again."""
        now = self._clock()
        _, last = self._reported.get(subject, (root, None))
        if last is not None and now - last < PROBLEM_REPORTED_EVERY_S:
            return
        self._reported[subject] = (root, now)
        with suppress(RedisUnavailableError):  # it is reported again
            self._workers.report(self._worker_id, subject, problem)

    def does_not_fit(self, job_id: str, fingerprint: str) -> None:
        """Report a job that this worker leaves to others."""
        subject = f"job {job_id}"
        problem = f"left to other workers: its scores are of other models, settings or version than {fingerprint}"
        if subject not in self._reported:
            _log.warning("%s: %s", subject, problem)
        self.report(subject, subject, problem)

    def has_read(self, roots: set[str]) -> None:
        """The process has read images of these sources: report it once a minute, and withdraw their problems."""
        now = self._clock()
        for root in roots:
            last = self._read.get(root)
            if now - last < _READ_REPORTED_EVERY_S if last is not None else len(self._read) == _SOURCES_REPORTED:
                continue
            self._read[root] = now
            with suppress(RedisUnavailableError):  # it is reported again
                self._workers.report_read(self._worker_id, root)
        for subject in [subject for subject, (root, _) in self._reported.items() if root in roots]:
            with suppress(RedisUnavailableError):
                self._workers.withdraw(self._worker_id, subject)
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
