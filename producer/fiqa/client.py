"""Client: submit jobs, follow them, read their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from typing import Final, Self

from pydantic import ValidationError

from fiqa.broker import publish_tickets
from fiqa.contract import (
    DEFAULT_KEEP_S,
    DEFAULT_MAX_FAILED,
    MAX_CHUNK_SIZE,
    REDIS_STORAGE,
    ImageResult,
    Item,
    JobOptions,
    JobSpec,
    JobState,
    Priority,
)
from fiqa.errors import (
    JobStateError,
    LostShardError,
    RedisUnavailableError,
    StorageError,
    UnknownJobError,
    UsageError,
    first_problem,
)
from fiqa.job import ALL_RESULTS, Job
from fiqa.jobs.delete import delete
from fiqa.jobs.recover import recover, recoverable
from fiqa.jobs.repair import Repair, repair
from fiqa.jobs.retry import retry
from fiqa.jobs.submit import submit
from fiqa.jobs.summary import stored_jobs
from fiqa.ledger.connection import Connection
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.status import JobStatus
from fiqa.ledger.workers import WorkerStatus
from fiqa.results.selection import Selection
from fiqa.settings import Settings
from fiqa.sources.items import checked_items
from fiqa.storage.shards import read_shards
from fiqa.storage.storage import open_storage

_FIRST_POLL_S: Final = 0.01
_POLL_S: Final = 0.25
_LONGEST_OUTAGE_S: Final = 300.0
_NO_WORKER: Final = "no worker runs: start `fiqa worker`"
_STATE_HINTS: Final = {
    JobState.PREPARING: "its submit has not ended",
    JobState.RUNNING: "it continues",
    JobState.PAUSED: "it continues once it is resumed",
}
_SCORE_GRACE_S: Final = 10.0


class Client:
    """Submits jobs, and reads their progress and their results. Threads may share it.

    Every method raises RedisUnavailableError if Redis does not answer or refuses, and StorageError if the storage of a
    job does not.
    """

    def __init__(
        self, redis_url: str | None = None, storage: str | None = None, *, namespace: str | None = None
    ) -> None:
        """Check the settings. The first call connects.

        Args:
            redis_url: redis://, rediss://, unix:// or sentinel://; None takes FIQA_REDIS_URL.
            storage: where new jobs are stored: `redis`, s3://bucket/prefix, or a folder that the workers share. None
                takes FIQA_STORAGE.
            namespace: the namespace of the workers; None takes FIQA_NAMESPACE.

        Raises:
            SettingsError: one of them is wrong.
        """
        given = {"redis_url": redis_url, "storage": storage, "namespace": namespace}
        settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
        self._redis_url = settings.redis_url
        self._ledger = Ledger(Connection(settings.redis_url, settings.namespace))
        self._storage = open_storage(settings.storage, self._ledger.connection)

    @property
    def storage(self) -> str:
        """The URL of the storage of new jobs."""
        return self._storage.url

    def stored_ids(self) -> list[str]:
        """Return the ids of all jobs in this client's storage. Private: `fiqa recover` shows their number."""
        return self._storage.jobs()

    def close(self) -> None:
        """Close the connections to Redis."""
        self._ledger.close()

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
        any_worker: bool = False,
        measures: bool = False,
        min_face_px: int | None = None,
        max_faces: int | None = None,
        resume_id: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Job:
        """Submit a job. The source is streamed into the storage; workers start when all of it is stored.

        Args:
            source: URIs (s3://bucket/key, or file:///path if the workers may read it), or items with your own ids.
            name: a display name.
            priority: a job of a higher priority goes first. Jobs of the same priority share the workers.
            chunk_size: images per chunk; None lets chunks grow from 16 to 256.
            max_failed: the job is stopped if more than this share of its images failed, once at least 1,000 are done.
                1 never stops it.
            keep_s: how long Redis keeps a finished job. Other storages keep its files until they are deleted.
            any_worker: let workers with different fingerprints score the job together. Otherwise only workers with the
                fingerprint of the first one score it.
            measures: measure each face, and give the reasons why it may be poor.
            min_face_px: only score faces of at least this size: the longer side of their box, in pixels.
            max_faces: only score this many faces of an image, the largest ones.
            resume_id: a job that an interrupted submit left `preparing`; its manifest is replaced.
            progress: called with the number of images after each chunk.

        Raises:
            SourceError: the source holds no images, or holds an item whose URI workers cannot read.
            UsageError: an argument is out of range, or the source is a string.
            UnknownJobError: there is no job `resume_id`; or the job was deleted while it was submitted.
            JobStateError: the job `resume_id` is not `preparing`; or the job was cancelled or submitted again while it
                was submitted.
        """
        if isinstance(source, str):
            raise UsageError("submit() takes an iterable of URIs; for one image pass a list of one")
        if chunk_size is not None and not 1 <= chunk_size <= MAX_CHUNK_SIZE:
            raise UsageError(f"chunk_size is {chunk_size}: a chunk holds 1 to {MAX_CHUNK_SIZE:,} images")
        if priority not in set(Priority):
            raise UsageError(f"priority is {priority!r}: it is one of {', '.join(Priority)}")
        created = self._ledger.connection.now()
        try:
            spec = JobSpec(
                id=resume_id or new_job_id(),
                name=name,
                priority=Priority(priority),
                created=created,
                max_failed=max_failed,
                keep_s=keep_s,
                any_worker=any_worker,
                options=JobOptions(measures=measures, min_face_px=min_face_px, max_faces=max_faces),
            )
        except ValidationError as error:
            where, problem = first_problem(error)
            raise UsageError(f"{where}: {problem}") from None
        return self._opened(
            submit(
                checked_items(source),
                spec,
                ledger=self._ledger,
                storage=self._storage,
                chunk_size=chunk_size,
                resume=resume_id is not None,
                progress=progress,
            )
        )

    def job(self, job_id: str) -> Job:
        """Return the handle of a job that was submitted before.

        Raises:
            UnknownJobError: no such job.
        """
        status = self.status(job_id)
        return Job(status.id, status.name, status.images, status.chunks, self)

    def status(self, job_id: str) -> JobStatus:
        """Return the state and the counters of a job. If no worker runs, also publish the tickets that the queue lacks.

        An autoscaler that has stopped all workers starts one if it sees a ticket. Workers replace lost tickets, but
        here none runs.

        Raises:
            UnknownJobError: no such job.
        """
        status = self._ledger.status(job_id)
        if _lacks_workers(status):
            self._publish_tickets()
        return status

    def jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """Return the status of the newest jobs, newest first."""
        return self._ledger.jobs(limit=limit)

    def stored_jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """Return the newest finished jobs in this client's storage that Redis has forgotten, newest first."""
        return stored_jobs(self._ledger, self._storage, limit=limit)

    def workers(self) -> list[WorkerStatus]:
        """Return the workers that run, by host and process id."""
        return self._ledger.workers.all()

    def watch(self, job_id: str) -> Iterator[JobStatus]:
        """Yield the status a few times a second until the job is finished. The last one is final.

        While Redis is unavailable, for up to five minutes, it yields the last known status, with the error as
        `last_error`.

        Raises:
            UnknownJobError: no such job.
        """
        pause_s = _FIRST_POLL_S
        status, known = self.status(job_id), time.monotonic()
        while not status.is_finished:
            yield status
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _POLL_S)
            try:
                status, known = self.status(job_id), time.monotonic()
            except RedisUnavailableError as error:
                if time.monotonic() - known > _LONGEST_OUTAGE_S:
                    raise
                status = replace(status, last_error=str(error))
        yield status

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobStatus:
        """Block until a job is finished.

        Raises:
            UnknownJobError: no such job.
            TimeoutError: it is not finished after `timeout_s` seconds. The job continues.
        """
        status = self._watched(job_id, timeout_s)
        if not status.is_finished:
            hint = _NO_WORKER if _lacks_workers(status) else _STATE_HINTS[status.state]
            raise TimeoutError(f"job {job_id} is {status.state} after {timeout_s:g} s; {hint}")
        return status

    def _watched(self, job_id: str, timeout_s: float | None) -> JobStatus:
        """Return the status of a job at its end, or after `timeout_s` seconds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for status in self.watch(job_id):
            if deadline is not None and time.monotonic() >= deadline:
                return status
        return status

    def results(
        self,
        job_id: str,
        selection: Selection = ALL_RESULTS,
        *,
        follow: bool = False,
        on_lost: Callable[[StorageError], None] | None = None,
    ) -> Iterator[ImageResult]:
        """Stream the results that are stored, shard by shard, in constant memory.

        Args:
            job_id: the job.
            selection: which results, and which of their faces. If it compares images, all results are read before the
                first one is yielded.
            follow: wait for the other results too, until the job is finished.
            on_lost: called with an error for each shard that is gone or damaged; its results are left out. If None, the
                error is raised. `repair` lets workers recreate such shards.

        Raises:
            UnknownJobError: no such job.
        """
        with closing(self.result_shards(job_id, follow=follow, on_lost=on_lost)) as shards:
            yield from chain.from_iterable(selection.batches(shards))

    def result_shards(
        self,
        job_id: str,
        *,
        follow: bool = False,
        on_status: Callable[[JobStatus], None] | None = None,
        on_lost: Callable[[StorageError], None] | None = None,
    ) -> Generator[list[bytes], None, None]:
        """Stream the results as JSON lines, one list for each shard. Private: the commands write them as they are.

        Args:
            job_id: the job.
            follow: wait for the other results too, until the job is finished.
            on_status: called with the job's status before its new shards are read.
            on_lost: see `results`.

        Raises:
            UnknownJobError: no such job.
        """
        read: set[int] = set()

        def lost(_: int, error: LostShardError) -> None:
            if on_lost is None:
                raise error
            on_lost(error)

        sizes = self._ledger.chunk_sizes(job_id)
        storage = None
        for status in self.watch(job_id) if follow else (self.status(job_id),):
            if on_status:
                on_status(status)
            storage = storage or open_storage(status.storage, self._ledger.connection)
            try:
                new = [chunk for chunk in self._ledger.done_chunks(job_id) if chunk not in read]
            except RedisUnavailableError:
                if status.is_finished or not follow:
                    raise
                continue  # `watch` waits for Redis
            read.update(new)
            with closing(read_shards(storage, job_id, "results", new, sizes=sizes, on_lost=lost)) as shards:
                for _, lines in shards:
                    yield lines

    def pause(self, job_id: str) -> JobStatus:
        """Start no more chunks of a job; chunks in flight are finished. A second call does nothing.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it neither runs nor is paused.
        """
        return self._control(job_id, Control.PAUSE)

    def resume(self, job_id: str, *, max_failed: float | None = None) -> JobStatus:
        """Continue a paused job, or one that too many failed images stopped. A second call does nothing.

        Args:
            job_id: the job.
            max_failed: the share of failed images that stops the job from now on; 1 never stops it. It also lets a job
                continue that was stopped by the old share: all images that have no result yet are scored.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it neither runs nor is paused; or it failed, and `max_failed` is not given.
            UsageError: `max_failed` is not between 0 and 1.
        """
        if max_failed is not None and not 0 <= max_failed <= 1:
            raise UsageError(f"max_failed is {max_failed}: it is between 0 and 1")
        self._ledger.control(job_id, Control.RESUME, max_failed=max_failed)
        status = self.status(job_id)
        self._publish_tickets()
        return status

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job for good; chunks in flight stop within 2 s. Its results stay. A second call does nothing.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it has already succeeded or failed.
        """
        return self._control(job_id, Control.CANCEL)

    def delete(self, job_id: str) -> None:
        """Delete a finished job, or one that is `preparing`, with its manifest and its results.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it runs or is paused: cancel it first; or its recovery was interrupted.
        """
        delete(job_id, ledger=self._ledger)

    def retry(
        self,
        job_id: str,
        *,
        all_failed: bool = False,
        rest: bool = False,
        on_lost: Callable[[StorageError], None] | None = None,
    ) -> Job:
        """Submit the failed images of a finished job as a new job, whose `parent` is the finished one.

        Args:
            job_id: the finished job.
            all_failed: retry also images that will probably fail again, such as not_found and decode_failed.
            rest: also submit the images that have no result because the job was stopped.
            on_lost: called with an error for each result shard that is gone or damaged. If None, the error is raised.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it is not finished.
            SourceError: it has no such images.
        """
        return self._opened(retry(job_id, ledger=self._ledger, all_failed=all_failed, rest=rest, on_lost=on_lost))

    def repair(self, job_id: str, progress: Callable[[int, int], None] | None = None) -> Repair:
        """Let workers recreate the result shards of a finished job that are gone or damaged.

        Args:
            job_id: the finished job. If it had succeeded, it runs again.
            progress: called after each shard with two numbers: shards read so far, and all shards.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it is not finished.
        """
        found = repair(job_id, ledger=self._ledger, progress=progress)
        self._publish_tickets()
        return found

    def recoverable(self) -> list[str]:
        """Return the jobs in this client's storage that Redis does not know, oldest first."""
        return recoverable(ledger=self._ledger, storage=self._storage)

    def recover(
        self,
        job_id: str,
        progress: Callable[[int, int], None] | None = None,
        on_lost: Callable[[StorageError], None] | None = None,
    ) -> JobStatus:
        """Rebuild a job in Redis from this client's storage, after Redis was lost. The job continues.

        Args:
            job_id: the job.
            progress: called after each shard with two numbers: shards counted so far, and all shards.
            on_lost: called with an error for each result shard that is damaged. Workers recreate it.

        Raises:
            UnknownJobError: the storage does not hold such a job, or its submit was interrupted.
            JobStateError: Redis knows the job.
            ContractError: a file of the job is damaged.
        """
        recover(job_id, ledger=self._ledger, storage=self._storage, progress=progress, on_lost=on_lost)
        self._publish_tickets()
        return self.status(job_id)

    def score(self, uri: str | Item, *, timeout_s: float = 30.0) -> ImageResult:
        """Score one image now, before all bulk jobs. This makes a job of one image, and deletes it at the end.

        The image waits until a worker process has finished the chunk that it works on.

        Raises:
            TimeoutError: there is no result after `timeout_s` seconds. The image is not scored later.
            SourceError: it is not a URI that workers can read.
        """
        # This job is stored in Redis, even if other jobs are stored elsewhere: it has one result, and is deleted soon.
        storage = open_storage(REDIS_STORAGE, self._ledger.connection)
        created = self._ledger.connection.now()
        spec = JobSpec(id=new_job_id(), name="score", priority=Priority.HIGH, created=created, keep_s=60)
        job = self._opened(submit(checked_items([uri]), spec, ledger=self._ledger, storage=storage))
        try:
            # If this process is killed, the job must not run before all others, since nobody waits for it any more.
            self._ledger.expire_in(job.id, timeout_s + _SCORE_GRACE_S)
            status = self._watched(job.id, timeout_s)
            if not status.is_finished:
                hint = _NO_WORKER if _lacks_workers(status) else status.last_error or "no worker has started it"
                raise TimeoutError(f"no result after {timeout_s:g} s, and the image is not scored later: {hint}")
            for result in job.results():
                return result
            raise JobStateError(f"job {job.id} was cancelled before it had a result")
        finally:
            with suppress(UnknownJobError, JobStateError):
                self._ledger.control(job.id, Control.CANCEL)
            with suppress(UnknownJobError):
                job.delete()

    def _control(self, job_id: str, control: Control) -> JobStatus:
        self._ledger.control(job_id, control)
        return self.status(job_id)

    def _opened(self, spec: JobSpec) -> Job:
        self._publish_tickets()
        return Job(spec.id, spec.name, spec.images, spec.chunks, self)

    def _publish_tickets(self) -> None:
        with suppress(RedisUnavailableError):  # the call is in effect already: the workers' reconciler adds the tickets
            publish_tickets(self._ledger)


def _lacks_workers(status: JobStatus) -> bool:
    return status.state is JobState.RUNNING and not status.workers_run
