"""Tells a failure of a chunk that stays from one that passes.

A storage that does not answer, or refuses, is waited for. A storage that answers wrongly is asked a few times more: a
file system may show an old state for a while. After that the images of the chunk end as failed. Without this bound a
job whose manifest is damaged would never end.
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

# With 10 s in between, about a minute: clients of NFS hold a missing file for missing for up to 60 s.
WRONG_ANSWERS: Final = 6


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How the images of a chunk end that cannot be scored.

    Attributes:
        code: the error code of each image.
        why: one line.
    """

    code: ErrorCode
    why: str


def given_up(claim: Claim, error: Exception, *, ledger: Ledger, storage: Storage) -> GivenUp | None:
    """Count a failure that stays. Return how the chunk's images end if there were enough of them, else None.

    Raises:
        StorageError: the storage does not answer.
        RedisUnavailableError: Redis does not answer.
    """
    if isinstance(error, LostShardError):
        found = GivenUp(ErrorCode.MANIFEST_LOST, str(error))
    elif isinstance(error, FiqaError | OSError | MemoryError):
        return None  # of this machine, or it may pass
    else:
        found = GivenUp(ErrorCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
    if found.code is ErrorCode.MANIFEST_LOST and not claim.size:
        return None
    number, machines = ledger.wrong_answer(claim, machine())
    if number < WRONG_ANSWERS:
        return None
    if len(machines) == 1 and _may_be_this_machines(found.code, claim, storage) and _others_run(ledger):
        return None
    return found


def lost_items(claim: Claim) -> list[Item]:
    """Return one item for each image of a chunk whose list is lost. Their URIs name the line that is lost."""
    return [Item(uri=f"lost:{claim.job_id}/manifest/{claim.chunk:08d}#{line}") for line in range(1, claim.size + 1)]


def _may_be_this_machines(code: ErrorCode, claim: Claim, storage: Storage) -> bool:
    """Whether another machine may see something else: a wrong mount or endpoint has nothing of the job."""
    return code is ErrorCode.INTERNAL_ERROR or storage.read_document(claim.job_id, "job") is None


def _others_run(ledger: Ledger) -> bool:
    return any(worker.host != machine() for worker in ledger.workers.each())
