"""Job: the handle of one job, as `Client.submit` returns it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fiqa.contract import ImageResult
from fiqa.ledger.status import JobStatus
from fiqa.results.selection import Selection

if TYPE_CHECKING:
    from fiqa.client import Client
    from fiqa.jobs.repair import Repair

ALL_RESULTS: Final = Selection()


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted job. Each method is the client's method of the same name, called with this job's id.

    Attributes:
        id: the job's id.
        name: its display name.
        images: the number of images.
        chunks: the number of chunks.
    """

    id: str
    name: str | None
    images: int
    chunks: int
    _client: Client = field(repr=False, compare=False)

    def status(self) -> JobStatus:
        """Return the state and the counters of the job: `Client.status`."""
        return self._client.status(self.id)

    def watch(self) -> Iterator[JobStatus]:
        """Yield the status a few times a second until the job is finished: `Client.watch`."""
        return self._client.watch(self.id)

    def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Block until the job is finished: `Client.wait`."""
        return self._client.wait(self.id, timeout_s)

    def results(self, selection: Selection = ALL_RESULTS, *, follow: bool = False) -> Iterator[ImageResult]:
        """Stream the results: `Client.results`."""
        return self._client.results(self.id, selection, follow=follow)

    def pause(self) -> JobStatus:
        """Start no more chunks: `Client.pause`."""
        return self._client.pause(self.id)

    def resume(self, *, max_failed: float | None = None) -> JobStatus:
        """Continue after a pause, or with more failed images than were allowed: `Client.resume`."""
        return self._client.resume(self.id, max_failed=max_failed)

    def cancel(self) -> JobStatus:
        """Stop the job for good: `Client.cancel`."""
        return self._client.cancel(self.id)

    def retry(self, *, all_failed: bool = False, rest: bool = False) -> Job:
        """Submit the failed images, and those without a result, as a new job: `Client.retry`."""
        return self._client.retry(self.id, all_failed=all_failed, rest=rest)

    def repair(self) -> Repair:
        """Let workers recreate lost result shards: `Client.repair`."""
        return self._client.repair(self.id)

    def delete(self) -> None:
        """Delete the job with its manifest and its results: `Client.delete`."""
        self._client.delete(self.id)
