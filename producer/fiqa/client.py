"""Client: submit jobs, follow them, read their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from fiqa.broker import make_app, publish_tickets
from fiqa.contract import (
    DEFAULT_KEEP_S,
    DEFAULT_MAX_FAILED,
    MAX_CHUNK_SIZE,
    REDIS_STORAGE,
    RETRYABLE,
    ErrorCode,
    ImageResult,
    Item,
    JobSpec,
    JobState,
    Priority,
    Status,
)
from fiqa.errors import (
    JobStateError,
    RedisUnavailableError,
    SettingsError,
    SourceError,
    UnknownJobError,
)
from fiqa.jobs.recover import recover
from fiqa.jobs.submit import Job, drop, enqueue, refuse_results
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import ALL
from fiqa.ledger.status import JobStatus
from fiqa.results.selection import Selection
from fiqa.settings import Settings
from fiqa.sources.lines import checked_uri, is_uri
from fiqa.storage.shards import read_shards
from fiqa.storage.storage import Storage, open_storage

if TYPE_CHECKING:
    from celery import Celery

_FIRST_POLL_S = 0.01
_POLL_S = 0.25


class Client:
    """Enqueues bulk jobs, and reads their progress and results. Safe to share between threads.

    Every method raises RedisUnavailableError where Redis does not answer, and StorageError where the storage does not.
    """

    def __init__(self, redis_url: str | None = None, storage: str | None = None) -> None:
        """Connects at first use.

        Args:
            redis_url: redis://, rediss:// or unix://; FIQA_REDIS_URL where None.
            storage: of new jobs: `redis`, s3://bucket/prefix or a folder that workers share; None for FIQA_STORAGE.

        Raises:
            SettingsError: one of them is wrong.
        """
        given = {"redis_url": redis_url, "storage": storage}
        settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
        self._redis_url = settings.redis_url
        self.ledger = Ledger(settings.redis_url)
        self._storage = open_storage(settings.storage, self.ledger.connection)

    @cached_property
    def _app(self) -> Celery:
        return make_app(self._redis_url)

    def close(self) -> None:
        """Close the connections to Redis."""
        if "_app" in self.__dict__:
            self._app.close()
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        source: Iterable[str | Item],
        *,
        name: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        chunk_size: int | None = None,
        max_failed: float = DEFAULT_MAX_FAILED,
        keep_s: float = DEFAULT_KEEP_S,
        resume_id: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Job:
        """Enqueue a job. The source is streamed into the job's storage; workers start when it is complete.

        Args:
            source: URIs (s3://bucket/key, or file:///path where workers may read it), or items with the caller's ids.
            name: for people; shown beside the id.
            priority: a job of a higher one goes first; jobs of the same one share the workers.
            chunk_size: images a chunk; None grows them from 16 to 256.
            max_failed: the job is stopped when more than this share of at least 1,000 images failed; 1 never stops it.
            keep_s: how long a finished job stays, if its storage is Redis; other storages keep it until it is deleted.
            resume_id: of a job that an interrupted submit left `preparing`; its manifest is written anew.
            progress: told of the number of images after each chunk.

        Raises:
            SourceError: there is no image in it, or an entry is no URI.
            SettingsError: the chunk size, the share or the time is out of range.
            UnknownJobError: there is no job of `resume_id`.
            JobStateError: it is not `preparing`; or the job was cancelled while it was submitted.
        """
        if isinstance(source, str):
            raise SourceError("submit() takes an iterable of URIs; for one image pass a list of one")
        if chunk_size is not None and not 1 <= chunk_size <= MAX_CHUNK_SIZE:
            raise SettingsError(f"chunk_size is {chunk_size}: a chunk holds 1 to {MAX_CHUNK_SIZE:,} images")
        try:
            spec = JobSpec(
                id=resume_id or new_job_id(),
                name=name,
                priority=Priority(priority),
                created=self.ledger.connection.now(),
                max_failed=max_failed,
                keep_s=keep_s,
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise SettingsError(f"{first['loc'][0]}: {first['msg']}") from None
        return enqueue(
            _items(source),
            spec,
            ledger=self.ledger,
            storage=self._storage,
            app=self._app,
            chunk_size=chunk_size,
            resume=resume_id is not None,
            progress=progress,
        )

    def status(self, job_id: str) -> JobStatus:
        """How far a job is.

        Raises:
            UnknownJobError: no such job.
        """
        return self.ledger.status(job_id)

    def jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """The newest jobs first."""
        return self.ledger.jobs(limit=limit)

    def watch(self, job_id: str) -> Iterator[JobStatus]:
        """The status, a few times a second until the job is finished; the last one is final.

        Raises:
            UnknownJobError: no such job.
        """
        pause_s = _FIRST_POLL_S
        while not (status := self.status(job_id)).is_finished:
            yield status
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _POLL_S)
        yield status

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobStatus:
        """Block until a job is finished.

        Raises:
            UnknownJobError: no such job.
            TimeoutError: it is not finished after `timeout_s`; it goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for status in self.watch(job_id):
            if deadline is not None and not status.is_finished and time.monotonic() >= deadline:
                abandoned = status.state is JobState.RUNNING and not status.workers_run
                goes_on = "no worker runs: start `fiqa worker`" if abandoned else "it goes on"
                raise TimeoutError(f"job {job_id} is {status.state} after {timeout_s:g} s; {goes_on}")
        return status

    def pause(self, job_id: str) -> JobStatus:
        """Start no more chunks of a job; those under way are finished. A second time does nothing.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it neither runs nor is paused.
        """
        self.ledger.control(job_id, Control.PAUSE)
        return self.status(job_id)

    def resume(self, job_id: str) -> JobStatus:
        """Go on with a paused job. A second time does nothing.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it neither runs nor is paused.
        """
        self.ledger.control(job_id, Control.RESUME)
        self._publish_tickets()
        return self.status(job_id)

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job for good; chunks under way stop within 2 s. Results so far stay. A second time does nothing.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it has finished otherwise.
        """
        self.ledger.control(job_id, Control.CANCEL)
        return self.status(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a finished job, or one left `preparing`, with its manifest and its results.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it runs, or is paused: cancel it first; or its recovery was interrupted.
        """
        status = self.status(job_id)
        storage = open_storage(status.storage, self.ledger.connection)
        if status.state is JobState.PREPARING:
            refuse_results(job_id, storage)
        drop(job_id, ledger=self.ledger, storage=storage)

    def retry(self, job_id: str, *, all_failed: bool = False) -> Job:
        """Enqueue the failed images of a finished job as a new one, which names it as its parent.

        Args:
            job_id: the job.
            all_failed: also those that will hardly fare better, such as not_found and decode_failed.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it is not finished.
            SourceError: there are no such images.
        """
        parent = self.status(job_id)
        if not parent.is_finished:
            raise JobStateError(f"job {job_id} is {parent.state}: only a finished one can be retried")
        codes = frozenset(ErrorCode) if all_failed else RETRYABLE
        if not any(code in parent.failed_by_code for code in codes):
            failed = ", ".join(f"{count:,} {code}" for code, count in parent.failed_by_code.items()) or "none failed"
            hint = ": none of these may succeed the next time; --all retries them all the same" if parent.failed else ""
            raise SourceError(f"job {job_id} has no images to retry: {failed}{hint}")
        storage = open_storage(parent.storage, self.ledger.connection)
        spec = JobSpec(
            id=new_job_id(),
            name=parent.name,
            priority=parent.priority,
            created=self.ledger.connection.now(),
            parent=job_id,
            max_failed=parent.max_failed,
            keep_s=parent.keep_s,
        )
        return enqueue(
            self._failed_items(job_id, storage, codes), spec, ledger=self.ledger, storage=storage, app=self._app
        )

    def _failed_items(self, job_id: str, storage: Storage, codes: frozenset[ErrorCode]) -> Iterator[Item]:
        for _, lines in read_shards(storage, job_id, "results", self.ledger.done_chunks(job_id)):
            for result in map(ImageResult.decode, lines):
                if result.error and result.error.code in codes:
                    yield Item(uri=result.uri, id=result.id, version=result.version)

    def recoverable(self) -> list[str]:
        """The jobs in this client's storage that Redis does not know, oldest first."""
        known = {status.id for status in self.jobs(limit=ALL)}
        return [job_id for job_id in self._storage.jobs() if job_id not in known]

    def recover(self, job_id: str, progress: Callable[[int, int], None] | None = None) -> JobStatus:
        """Rebuild the ledger of a job from this client's storage, after Redis was lost; what is not done goes on.

        Args:
            job_id: the job.
            progress: told after each shard how many are counted, and how many there are.

        Raises:
            UnknownJobError: the storage holds no such job, or it was never submitted whole.
            JobStateError: Redis knows the job.
        """
        recover(job_id, ledger=self.ledger, storage=self._storage, progress=progress)
        self._publish_tickets()
        return self.status(job_id)

    def score(self, uri: str | Item, *, timeout_s: float = 30.0) -> ImageResult:
        """Score one image now, before all bulk jobs, and leave no job behind.

        It waits until a worker process has finished the chunk that it is at.

        Raises:
            TimeoutError: there is no result after `timeout_s`.
            SourceError: it is no URI.
        """
        # In Redis, wherever other jobs live: it is one result, and gone in a moment.
        storage = open_storage(REDIS_STORAGE, self.ledger.connection)
        spec = JobSpec(
            id=new_job_id(), name="score", priority=Priority.HIGH, created=self.ledger.connection.now(), keep_s=60
        )
        enqueue(_items([uri]), spec, ledger=self.ledger, storage=storage, app=self._app)
        try:
            self.wait(spec.id, timeout_s)
            for result in self.results(spec.id):
                return result
            raise JobStateError(f"job {spec.id} was cancelled before it had a result")
        finally:
            with suppress(UnknownJobError, JobStateError):
                self.ledger.control(spec.id, Control.CANCEL)
            with suppress(UnknownJobError):
                self.delete(spec.id)

    def _publish_tickets(self) -> None:
        with suppress(RedisUnavailableError):  # what was asked is in force: the workers' reconciler tops tickets up
            publish_tickets(self._app, self.ledger)

    def results(
        self,
        job_id: str,
        *,
        follow: bool = False,
        status: Status | None = None,
        best: bool = False,
        min_quality: float | None = None,
        max_quality: float | None = None,
    ) -> Iterator[ImageResult]:
        """Stream results shard by shard, in constant memory.

        Args:
            job_id: the job.
            follow: wait for the chunks that are not complete yet, until the job is finished.
            status: only images that ended so.
            best: of an image only the face of the highest quality.
            min_quality: only faces of at least this, and images that have one.
            max_quality: only faces of at most this, and images that have one.

        Raises:
            UnknownJobError: no such job.
        """
        selection = Selection(status, best, min_quality, max_quality)
        for shard in self.result_shards(job_id, follow=follow):
            yield from selection.results(shard)

    def result_shards(
        self, job_id: str, *, follow: bool = False, on_status: Callable[[JobStatus], None] | None = None
    ) -> Iterator[list[bytes]]:
        """The same as JSON lines a shard, as they were stored.

        Args:
            job_id: the job.
            follow: as in `results`.
            on_status: told of the job's progress as it is read.

        Raises:
            UnknownJobError: no such job.
        """
        read: set[int] = set()
        storage: Storage | None = None
        for status in self.watch(job_id) if follow else (self.status(job_id),):
            if on_status:
                on_status(status)
            storage = storage or open_storage(status.storage, self.ledger.connection)
            fresh = [chunk for chunk in self.ledger.done_chunks(job_id) if chunk not in read]
            read.update(fresh)
            for _, lines in read_shards(storage, job_id, "results", fresh):
                yield lines


def _items(source: Iterable[str | Item]) -> Iterator[Item]:
    for number, entry in enumerate(source):
        try:
            item = entry if isinstance(entry, Item) else Item(uri=entry)
        except ValidationError as error:
            raise SourceError(f"entry {number}: {error.errors()[0]['msg']}") from None
        if not is_uri(item.uri):
            raise SourceError(f"entry {number}: {item.uri!r} is no URI: s3://bucket/key or file:///path")
        try:
            checked_uri(item.uri)
        except ValueError as error:
            raise SourceError(f"entry {number}: {error}") from None
        yield item
