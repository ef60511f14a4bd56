"""Repair a job: let workers recreate its result shards that are gone or damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fiqa.contract import ErrorCode, ImageResult, JobState
from fiqa.errors import JobStateError, LostShardError
from fiqa.ledger.claims import Counts
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import pack, read_items, read_results
from fiqa.storage.storage import Storage, open_storage

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` did.

    Attributes:
        shards: one line for each result shard that workers recreate: its name, and what is wrong with it.
        state: the job's state now.
    """

    shards: tuple[str, ...]
    state: JobState


def repair(job_id: str, *, ledger: Ledger, progress: Callable[[int, int], None] | None = None) -> Repair:
    """Read all result shards of a finished job, and let workers recreate those that are gone or damaged.

    If all images of a chunk ended as manifest_lost, and its manifest is back, its shard is recreated too. If the
    job was cancelled or failed, it stays so, and the lost results are no longer counted.

    Args:
        job_id: the finished job.
        ledger: where it is.
        progress: called after each shard with two numbers: shards read so far, and all shards.

    Raises:
        UnknownJobError: no such job.
        JobStateError: it is not finished.
        StorageError: the storage does not answer or refuses.
    """
    for _ in range(_TRIES):
        repaired = _try(job_id, ledger, progress)
        if repaired:
            return repaired
    raise JobStateError(f"job {job_id} changes while it is read: try again")


def _try(job_id: str, ledger: Ledger, progress: Callable[[int, int], None] | None) -> Repair | None:
    """Repair a job. Return None if a chunk was counted while its shards were read."""
    status = ledger.status(job_id)
    _check_finished(job_id, status.state)
    storage = open_storage(status.storage, ledger.connection)
    sizes, chunks = ledger.chunk_sizes(job_id), ledger.done_chunks(job_id)
    lost: dict[int, str] = {}
    counts = Counts.of([])

    def on_lost(chunk: int, error: LostShardError) -> None:
        lost[chunk] = str(error)

    results = read_results(storage, job_id, chunks, sizes=sizes, on_lost=on_lost)
    for number, (chunk, found) in enumerate(results, 1):
        if _manifest_is_back(job_id, chunk, found, storage):
            lost[chunk] = f"results {chunk} of job {job_id} are recreated: the manifest is back"
            # Workers never replace a stored shard, unless it does not fit its chunk. An empty shard does not fit.
            storage.replace(job_id, "results", chunk, pack([]))
        else:
            counts += Counts.of(found)
        if progress:
            progress(number, len(chunks))
    if not lost:
        return Repair((), status.state)
    state = ledger.repair(job_id, sorted(lost), done=len(chunks), counts=counts)
    if state is None:
        return None
    _check_finished(job_id, state)
    return Repair(tuple(lost[chunk] for chunk in sorted(lost)), ledger.status(job_id).state)


def _check_finished(job_id: str, state: JobState) -> None:
    if state not in {JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED}:
        raise JobStateError(f"job {job_id} is {state}: only a finished one can be repaired")


def _manifest_is_back(job_id: str, chunk: int, results: list[ImageResult], storage: Storage) -> bool:
    if not results or not all(one.error and one.error.code is ErrorCode.MANIFEST_LOST for one in results):
        return False
    try:
        read_items(storage, job_id, chunk, len(results))
    except LostShardError:
        return False
    return True
