"""Client: submit jobs, follow them, read their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from fiqa_producer.broker import make_app, publish_tickets
from fiqa_producer.contract import ImageResult, Item, Priority
from fiqa_producer.errors import RedisUnavailableError, SourceError
from fiqa_producer.home import Home, open_home, pack, unpack
from fiqa_producer.ledger import Ledger, new_job_id
from fiqa_producer.manifest import chunked
from fiqa_producer.settings import Settings
from fiqa_producer.status import JobStatus

if TYPE_CHECKING:
    from celery import Celery

_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was submitted."""

    id: str
    name: str | None
    images: int
    chunks: int


class Client:
    """Enqueues bulk jobs, and reads their progress and results. Safe to share between threads.

    Every method raises RedisUnavailableError where Redis does not answer, and HomeError where the home does not.
    """

    def __init__(self, redis_url: str | None = None, home: str | None = None) -> None:
        """Connects at first use.

        Args:
            redis_url: redis://, rediss:// or unix://; FIQA_REDIS_URL where None.
            home: of jobs to come: `redis`, s3://bucket/prefix or a folder that workers share; FIQA_HOME where None.

        Raises:
            SettingsError: one of them is wrong.
        """
        given = {"redis_url": redis_url, "home": home}
        settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
        self._redis_url = settings.redis_url
        self.ledger = Ledger(settings.redis_url)
        self._home = open_home(settings.home, self.ledger)

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
        progress: Callable[[int], None] | None = None,
    ) -> Job:
        """Enqueue a job. The source is streamed into the job's home; workers start when it is complete.

        Args:
            source: URIs (s3://bucket/key, or file:///path where workers may read it), or items with the caller's ids.
            name: for people; shown beside the id.
            priority: a job of a higher one goes first; jobs of the same one share the workers.
            chunk_size: images a chunk; None grows them from 16 to 256.
            progress: told of the number of images after each chunk.

        Raises:
            SourceError: there is no image in it, an entry is no URI, or the chunk size is none.
        """
        if isinstance(source, str):
            raise SourceError("submit() takes an iterable of URIs; for one image pass a list of one")
        if chunk_size is not None and chunk_size < 1:
            raise SourceError(f"a chunk holds one image or more, not {chunk_size}")
        chunks = chunked(_items(source), size=chunk_size)
        first = next(chunks, None)
        if first is None:
            raise SourceError("the source holds no images")
        job_id = new_job_id()
        self.ledger.create(job_id, name=name, priority=Priority(priority), home=self._home.url)
        images = number = 0
        try:
            for number, chunk in enumerate(chain([first], chunks)):
                self._home.write(job_id, "manifest", number, pack(item.encode() for item in chunk))
                images += len(chunk)
                if progress:
                    progress(images)
        except Exception:  # whatever a source may raise; on Ctrl-C the job is left `preparing`
            self.ledger.discard(job_id)
            raise
        self.ledger.open(job_id, chunks=number + 1, images=images)
        with suppress(RedisUnavailableError):  # the job is open all the same: the workers' reconciler tops tickets up
            publish_tickets(self._app, self.ledger)
        return Job(job_id, name, images, number + 1)

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
        while not (status := self.status(job_id)).is_finished:
            yield status
            time.sleep(_POLL_S)
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
                raise TimeoutError(f"job {job_id} is {status.state} after {timeout_s:g} s; it goes on")
        return status

    def results(self, job_id: str, *, follow: bool = False) -> Iterator[ImageResult]:
        """Stream results shard by shard, in constant memory.

        Args:
            job_id: the job.
            follow: wait for the chunks that are not complete yet, until the job is finished.

        Raises:
            UnknownJobError: no such job.
        """
        for shard in self.result_shards(job_id, follow=follow):
            yield from map(ImageResult.decode, shard)

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
        home: Home | None = None
        for status in self.watch(job_id) if follow else (self.status(job_id),):
            if on_status:
                on_status(status)
            home = home or open_home(status.home, self.ledger)
            for chunk in self.ledger.done_chunks(job_id):
                if chunk not in read:
                    read.add(chunk)
                    yield unpack(home.read(job_id, "results", chunk))


def _items(source: Iterable[str | Item]) -> Iterator[Item]:
    for number, entry in enumerate(source):
        try:
            item = entry if isinstance(entry, Item) else Item(uri=entry)
        except ValidationError as error:
            raise SourceError(f"entry {number}: {error.errors()[0]['msg']}") from None
        if "://" not in item.uri:
            raise SourceError(f"entry {number}: {item.uri!r} is no URI: s3://bucket/key or file:///path")
        yield item
