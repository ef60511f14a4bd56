"""Distinguishes lasting failures of a chunk from those that may pass.

If a storage does not answer, or refuses, the chunk is tried again without limit. If a storage answers, but wrongly, it
is tried a few times more: a file system may show an old state for a while. After that, the images of the chunk end as
failed. Without this limit, a job with a damaged manifest would never end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fiqa.contract import ErrorCode, Item
from fiqa.errors import FiqaError, LostShardError
from fiqa.ledger.claims import Claim
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage
from fiqa_worker.service.heartbeat import machine

# With pauses of 10 s, these tries take about a minute. An NFS client may report a new file as missing for up to 60 s.
WRONG_ANSWERS: Final = 6


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How the images of a chunk end, if the chunk cannot be scored.

    Attributes:
        code: the error code of each image.
        why: the reason, in one line.
    """

    code: ErrorCode
    why: str


def given_up(claim: Claim, error: Exception, *, ledger: Ledger, storage: Storage) -> GivenUp | None:
    """Count a lasting failure of a chunk. If it has failed often enough, return how its images end, else None.

    Raises:
        StorageError: the storage does not answer.
        RedisUnavailableError: Redis does not answer.
    """
    if isinstance(error, LostShardError):
        found = GivenUp(ErrorCode.MANIFEST_LOST, str(error))
    elif isinstance(error, FiqaError | OSError | MemoryError):
        return None  # an error of this machine, or one that may pass
    else:
        found = GivenUp(ErrorCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
    if found.code is ErrorCode.MANIFEST_LOST and not claim.size:
        return None
    number, machines = ledger.wrong_answer(claim, machine())
    if number < WRONG_ANSWERS:
        return None
    if len(machines) == 1 and _may_succeed_elsewhere(found.code, claim, storage) and _others_run(ledger):
        return None
    return found


def lost_items(claim: Claim) -> list[Item]:
    """Return one item for each image of a chunk whose manifest is lost. Each URI names the lost line."""
    return [Item(uri=f"lost:{claim.job_id}/manifest/{claim.chunk:08d}#{line}") for line in range(1, claim.size + 1)]


def _may_succeed_elsewhere(code: ErrorCode, claim: Claim, storage: Storage) -> bool:
    """Return whether another machine may succeed.

    If nothing of the job is found, the mount or the endpoint may be wrong.
    """
    return code is ErrorCode.INTERNAL_ERROR or storage.read_document(claim.job_id, "job") is None


def _others_run(ledger: Ledger) -> bool:
    return any(worker.host != machine() for worker in ledger.workers.each())
