"""One chunk from claim to completion: a real Redis, a folder, and the pipeline with the package's own models."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any, Final, NoReturn

import pytest

from fiqa.broker import publish_tickets
from fiqa.contract import ErrorCode, ImageResult, Item, JobOptions, JobSpec, JobState, Status
from fiqa.errors import RedisUnavailableError
from fiqa.jobs.summary import write_summary
from fiqa.ledger.claims import Claim
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.workers import WorkerStatus
from fiqa.storage.directory import DirectoryStorage
from fiqa.storage.layout import Part
from fiqa.storage.shards import pack, read_results
from fiqa.storage.storage import open_storage
from fiqa_worker.demo.photos import make_photos
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.pipeline.roots import Roots
from fiqa_worker.pipeline.watch import Watch
from fiqa_worker.service.chunk import RETRY_DELAY_S, ChunkProcessor, Scorer
from fiqa_worker.service.drain import ChildDrain
from fiqa_worker.service.fleet import Fleet
from fiqa_worker.service.standing import Standing
from fiqa_worker.settings import WorkerSettings
from tests.dead_folder import dead, needs_fuse
from tests.keys import LEASES
from tests.waiting import WAIT_S, wait_until
from tests.worker.service.conftest import StoppableRedis

NAMES: Final = ("original-0.jpg", "noface-1.jpg", "cut-0.jpg")
STATUSES: Final = [Status.SCORED, Status.NO_FACE, Status.FAILED]

pytestmark = pytest.mark.usefixtures("signals")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder)
    return folder


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load(
        WorkerSettings(detector="builtin_detector", quality_model="builtin_quality", allowed_sources=("file:///",))
    )


class Between:
    """The pipeline, and something that happens after its first result."""

    def __init__(self, pipeline: Pipeline, happens: Callable[[], object]) -> None:
        self._pipeline = pipeline
        self._happens = happens
        self.computed = 0

    def run(
        self,
        items: Sequence[Item],
        *,
        quarantined: Mapping[int, ErrorCode],
        watch: Watch,
        isolated: bool = False,
        options: JobOptions,
    ) -> Iterator[ImageResult]:
        results = self._pipeline.run(items, quarantined=quarantined, watch=watch, isolated=isolated, options=options)
        for result in results:
            self.computed += 1
            yield result
            if self.computed == 1:
                self._happens()


class StoresThen(DirectoryStorage):
    """A folder, and something that happens right after results are stored in it."""

    def __init__(self, folder: Path, happens: Callable[[], object]) -> None:
        super().__init__(folder)
        self._happens = happens

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        stored = super().write_once(job_id, part, chunk, data)
        self._happens()
        return stored


@dataclass(frozen=True)
class Job:
    """A job of one chunk, with its storage in a folder."""

    id: str
    folder: Path

    @property
    def storage(self) -> DirectoryStorage:
        return DirectoryStorage(self.folder)

    def stored(self) -> list[ImageResult] | None:
        """The results in the storage; None if there are none."""
        if not self.storage.chunks(self.id, "results"):
            return None
        ((_, results),) = read_results(self.storage, self.id, [0])
        return results


def submit(ledger: Ledger, photos: Path, folder: Path, **options: Any) -> Job:
    job = Job(new_job_id(), folder)
    spec = JobSpec(id=job.id, created=ledger.connection.now(), options=JobOptions(**options))
    submission = ledger.create(spec, storage=str(folder))
    items = [Item(uri=(photos / name).as_uri()) for name in NAMES]
    job.storage.write_once(job.id, "manifest", 0, pack(item.encode() for item in items))
    job.storage.write_document(job.id, "job", b"{}")
    ledger.open(job.id, submission, chunks=1, images=len(items))
    return job


@pytest.fixture
def job(ledger: Ledger, photos: Path, tmp_path: Path) -> Job:
    return submit(ledger, photos, tmp_path / "storage")


@pytest.fixture
def processor(ledger: Ledger, pipeline: Pipeline) -> ChunkProcessor:
    return ChunkProcessor(
        ledger=ledger,
        open_storage=lambda url: open_storage(url, ledger.connection),
        load_pipeline=lambda: pipeline,
        standing=Standing(Roots(("file:///",)).root_of),
        fleet=Fleet(ledger.workers, machine="here", worker_id="here:1:0", allowed=("file:///",)),
        drain=ChildDrain(60.0, sleep=lambda _: time.sleep(0.01), end=lambda _: None),
        fingerprint=lambda: pipeline.identity.fingerprint,
        publish_tickets=lambda: publish_tickets(ledger),
        on_finished=lambda job_id: write_summary(
            job_id, ledger=ledger, open_storage=lambda url: open_storage(url, ledger.connection)
        ),
        image_time_limit_s=60.0,
    )


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


def leases(ledger: Ledger) -> int:
    return int(ledger.connection.redis.zcard(LEASES))


def test_a_chunk_is_scored_stored_and_counted(processor: ChunkProcessor, ledger: Ledger, job: Job) -> None:
    processor.process_next()
    stored = job.stored()
    assert stored is not None
    assert [result.status for result in stored] == STATUSES
    status = ledger.status(job.id)
    assert (status.state, status.scored, status.no_face, status.failed) == (JobState.SUCCEEDED, 1, 1, 1)
    assert leases(ledger) == 0
    assert job.storage.read_document(job.id, "summary") is not None


def test_a_job_gets_what_its_options_ask_for_and_reads_what_its_worker_does_not_know(
    processor: ChunkProcessor, ledger: Ledger, photos: Path, tmp_path: Path
) -> None:
    job = submit(ledger, photos, tmp_path / "storage", min_face_px=10_000, smile=0.5)
    processor.process_next()
    stored = job.stored()
    assert stored is not None
    assert [(result.status, result.faces_left_out, result.not_applied) for result in stored] == [
        (Status.NO_FACE, 1, ("smile",)),
        (Status.NO_FACE, 0, ("smile",)),
        (Status.FAILED, 0, ()),
    ]


def test_without_a_job_that_is_due_nothing_happens(processor: ChunkProcessor, ledger: Ledger) -> None:
    processor.process_next()
    assert ledger.waiting_tickets() == 0


def test_a_worker_that_drains_claims_nothing(processor: ChunkProcessor, ledger: Ledger, job: Job) -> None:
    processor.drain.begun.set()
    processor.process_next()
    assert leases(ledger) == 0
    assert job.stored() is None


def test_tickets_are_topped_up_after_a_chunk(
    processor: ChunkProcessor, ledger: Ledger, photos: Path, tmp_path: Path
) -> None:
    for number in range(3):
        submit(ledger, photos, tmp_path / str(number))
    processor.process_next()
    assert ledger.waiting_tickets() == 2


def test_a_shard_that_an_earlier_attempt_stored_is_counted_as_it_is(
    processor: ChunkProcessor, ledger: Ledger, job: Job
) -> None:
    early = [ImageResult(uri=name, status=Status.NO_FACE, detector="d", quality_model="q") for name in NAMES]
    job.storage.write_once(job.id, "results", 0, pack(result.encode() for result in early))
    processor.process_next()
    assert job.stored() == early
    status = ledger.status(job.id)
    assert (status.state, status.no_face, status.models) == (JobState.SUCCEEDED, 3, {"d/q": 3})


def test_a_chunk_whose_lease_is_lost_is_neither_stored_nor_counted(
    processor: ChunkProcessor, ledger: Ledger, job: Job, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    others: list[Claim] = []

    def lose() -> None:
        for member in ledger.connection.redis.zrange(LEASES, 0, -1):
            ledger.connection.redis.zadd(LEASES, {member: 1})
        others.append(claimed(ledger))

    scorer: Scorer = Between(pipeline, lose)
    replace(processor, load_pipeline=lambda: scorer).process_next()
    assert job.stored() is None
    assert ledger.status(job.id).images_done == 0
    assert ledger.renew(others[0])
    assert any(line.startswith("chunk abandoned: lease lost") for line in caplog.messages)


def test_a_chunk_of_a_job_that_is_cancelled_is_not_stored(
    processor: ChunkProcessor, ledger: Ledger, job: Job, pipeline: Pipeline
) -> None:
    scorer: Scorer = Between(pipeline, lambda: ledger.control(job.id, Control.CANCEL))
    replace(processor, load_pipeline=lambda: scorer).process_next()
    assert job.stored() is None
    assert ledger.status(job.id).state is JobState.CANCELLED


def test_a_signal_releases_the_chunk_at_once_with_a_ticket_for_another_worker(
    processor: ChunkProcessor, ledger: Ledger, job: Job, pipeline: Pipeline
) -> None:
    drain = processor.drain
    drain.start()
    assert drain.ident is not None
    thread = drain.ident

    def end() -> None:
        signal.pthread_kill(thread, signal.SIGTERM)
        wait_until(lambda: leases(ledger) == 0 and ledger.waiting_tickets() == 1)

    scorer = Between(pipeline, end)
    replace(processor, load_pipeline=lambda: scorer).process_next()
    assert scorer.computed == 2  # the loss is noticed after the next result
    assert job.stored() is None
    assert claimed(ledger).attempt == 1
    drain.join()


def test_a_chunk_that_fails_is_released_with_a_delay_and_the_status_shows_why(
    processor: ChunkProcessor, ledger: Ledger, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = next(job.folder.glob("**/manifest/*"))
    manifest.unlink()
    processor.process_next()
    error = f"cannot read {manifest}: No such file or directory"
    assert caplog.messages == [f"chunk failed, next attempt in 10 s: {error}"]
    assert not caplog.records[0].exc_info
    assert ledger.status(job.id).last_error == f"chunk 0: {error}"
    assert ledger.claim() is None
    ((_, ends),) = ledger.connection.redis.zrange(LEASES, 0, -1, withscores=True)
    assert RETRY_DELAY_S - 5 < ends - ledger.connection.now() <= RETRY_DELAY_S


def test_an_unexpected_error_is_logged_with_its_traceback(
    processor: ChunkProcessor, ledger: Ledger, job: Job, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("planted")

    scorer: Scorer = Between(pipeline, fail)
    replace(processor, load_pipeline=lambda: scorer).process_next()
    assert caplog.records[0].exc_info
    assert ledger.status(job.id).last_error == "chunk 0: planted"
    assert job.stored() is None


def test_a_machine_that_fails_every_image_ends_none_if_another_may_score_them(
    processor: ChunkProcessor, ledger: Ledger, job: Job, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Its GPU has failed, or its memory is full. Then it fails its chunks faster than others score theirs."""

    class BrokenScorer:
        def score(self, crops: object) -> NoReturn:  # noqa: ARG002  the signature of QualityScorer
            raise MemoryError("planted")

    fingerprint = pipeline.identity.fingerprint
    for host in ("here", "there"):
        worker = WorkerStatus(
            id=f"{host}:1:0", host=host, pid=1, allowed_sources=("file:///",), fingerprint=fingerprint
        )
        ledger.workers.beat(worker, seconds=60)
    broken: Any = BrokenScorer()
    scorer: Scorer = replace(pipeline, scorer=broken)
    replace(processor, load_pipeline=lambda: scorer).process(claimed(ledger))
    assert job.stored() is None
    assert "scoring: images end as internal_error: MemoryError: planted" in caplog.text
    (here,) = (worker for worker in ledger.workers.each() if worker.host == "here")
    assert list(here.problems) == ["scoring internal_error"]
    processor.process(claimed(ledger))  # another machine
    assert ledger.status(job.id).state is JobState.SUCCEEDED


def test_a_pipeline_that_does_not_load_is_the_jobs_last_error(
    processor: ChunkProcessor, ledger: Ledger, job: Job
) -> None:
    def load() -> Scorer:
        return Pipeline.load(WorkerSettings(detector="/nowhere/mine.onnx", quality_model="builtin_quality"))

    replace(processor, load_pipeline=load).process_next()
    assert "cannot read /nowhere/mine.onnx" in str(ledger.status(job.id).last_error)


def test_results_that_are_stored_after_their_job_was_deleted_are_deleted(
    processor: ChunkProcessor, ledger: Ledger, job: Job
) -> None:
    def delete() -> None:
        ledger.control(job.id, Control.CANCEL)
        ledger.control(job.id, Control.DELETE)
        job.storage.delete(job.id)
        # After that, this worker stores its results.
        DirectoryStorage.write_once(job.storage, job.id, "results", 0, pack([]))

    replace(processor, open_storage=lambda _: StoresThen(job.folder, delete)).process_next()
    assert job.stored() is None
    assert list(job.folder.glob("jobs/*")) == []


def test_results_that_are_stored_after_redis_lost_the_job_are_kept_to_recover_from(
    processor: ChunkProcessor, ledger: Ledger, job: Job
) -> None:
    lose = ledger.connection.redis.flushall
    replace(processor, open_storage=lambda _: StoresThen(job.folder, lose)).process_next()
    stored = job.stored()
    assert stored is not None
    assert [result.status for result in stored] == STATUSES


def test_a_chunk_is_counted_despite_a_short_outage_of_redis(
    stoppable_redis: StoppableRedis, processor: ChunkProcessor, photos: Path, tmp_path: Path
) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        stoppable_redis.start()

    with closing(Ledger(stoppable_redis.url)) as ledger:
        job = submit(ledger, photos, tmp_path / "storage")
        replace(
            processor,
            ledger=ledger,
            open_storage=lambda _: StoresThen(job.folder, stoppable_redis.stop),
            publish_tickets=lambda: 0,
            sleep=sleep,
        ).process_next()
        assert waited == [1]
        assert ledger.status(job.id).state is JobState.SUCCEEDED


def test_an_isolated_chunk_computes_one_item_at_a_time_and_skips_what_killed_a_worker(
    processor: ChunkProcessor, ledger: Ledger, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    for attempt in range(1, 5):
        claim = claimed(ledger)
        assert claim.attempt == attempt
        if claim.isolated:
            ledger.renew(claim, in_flight=0)  # after this, the worker dies
        for member in ledger.connection.redis.zrange(LEASES, 0, -1):
            ledger.connection.redis.zadd(LEASES, {member: 1})
    processor.process_next()
    stored = job.stored()
    assert stored is not None
    assert [result.error.code if result.error else None for result in stored] == [
        ErrorCode.WORKER_CRASHED,
        None,
        ErrorCode.DECODE_FAILED,
    ]
    assert any(line.startswith("attempt 5: an earlier attempt was lost") for line in caplog.messages)


def test_a_long_loss_of_redis_during_an_isolated_chunk_blames_no_image(
    stoppable_redis: StoppableRedis, processor: ChunkProcessor, pipeline: Pipeline, photos: Path, tmp_path: Path
) -> None:
    with closing(Ledger(stoppable_redis.url)) as ledger:
        job = submit(ledger, photos, tmp_path / "storage")

        def lose_leases() -> None:
            for member in ledger.connection.redis.zrange(LEASES, 0, -1):
                ledger.connection.redis.zadd(LEASES, {member: 1})

        for _ in range(2):
            claimed(ledger)
            lose_leases()
        scorer: Scorer = Between(pipeline, stoppable_redis.stop)
        cut_off = replace(processor, ledger=ledger, load_pipeline=lambda: scorer, publish_tickets=lambda: 0)
        with pytest.raises(RedisUnavailableError):
            cut_off.process_next()
        stoppable_redis.start()
        lose_leases()
        other = claimed(ledger)  # the first that finds Redis back, and dies on the same image
        ledger.renew(other, in_flight=0)
        lose_leases()
        cut_off.drain.begun.set()
        cut_off.process_next()  # the one that was cut off is alive
        again = claimed(ledger)
        assert (again.isolated, again.quarantined) == (True, {})
        assert job.stored() is None


@needs_fuse
def test_a_storage_that_never_answers_holds_no_process_and_other_jobs_continue(
    processor: ChunkProcessor, ledger: Ledger, job: Job, photos: Path, tmp_path: Path
) -> None:
    impatient = replace(processor, storage_limit_s=1.0)
    with dead(job.folder):
        impatient.process_next()
        assert str(ledger.status(job.id).last_error).endswith("the storage has not answered for 1 s")
        other = submit(ledger, photos, tmp_path / "other")
        processor.process_next()
        assert other.stored()
        # No time ends this wait but that of the cancel.
        fresh = replace(processor, standing=Standing(Roots(("file:///",)).root_of))  # it does not back off
        processing = Thread(target=fresh.process_next)
        processing.start()
        wait_until(lambda: leases(ledger) == 1)
        ledger.control(job.id, Control.CANCEL)
        processing.join(WAIT_S)
        assert not processing.is_alive()


@needs_fuse
def test_results_that_cannot_be_stored_in_time_are_left_to_another_attempt(
    processor: ChunkProcessor, ledger: Ledger, job: Job, pipeline: Pipeline
) -> None:
    with ExitStack() as mounted:
        scorer: Scorer = Between(pipeline, lambda: mounted.enter_context(dead(job.folder)))
        replace(processor, load_pipeline=lambda: scorer, storage_limit_s=1.0).process_next()
        assert str(ledger.status(job.id).last_error).endswith("the storage has not answered for 1 s")
    assert claimed(ledger).attempt == 1
