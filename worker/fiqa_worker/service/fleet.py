"""What the other workers are, for a worker that doubts its own failures; and what it reports of itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.doubts import MACHINES_NEEDED
from fiqa.ledger.workers import PROBLEM_REPORTED_EVERY_S, Workers, WorkerStatus
from fiqa_worker.pipeline.roots import allows

_log = logging.getLogger(__name__)

# A registry of 5,000 workers takes 0.1 s to read.
_READ_EVERY_S: Final = 5.0


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

    def machines(self, uri: str, root: str, fingerprint: str) -> int:
        """Return how many machines can be asked about an image, with this one, up to MACHINES_NEEDED.

        A machine can be asked if one of its workers fits the job, may read the image, and does not report that it
        cannot read the source.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        found = {self.machine}
        for worker in self._fitting(fingerprint):
            if allows(worker.allowed_sources, uri) and root not in worker.problems:
                found.add(worker.host)
            if len(found) == MACHINES_NEEDED:
                break
        self.claims_as = self.machine if len(found) > 1 else ""
        return len(found)

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

    def withdraw(self, roots: set[str]) -> None:
        """The process can read these sources: withdraw what it reported of them."""
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
