"""Decides whether failures that may be the fault of this machine are results. The ledger counts who has seen them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fiqa.contract import ErrorCode, Item
from fiqa.ledger.claims import Claim
from fiqa.ledger.doubts import Action
from fiqa.ledger.ledger import Ledger
from fiqa_worker.errors import SourceUnavailable
from fiqa_worker.service.fleet import Fleet
from fiqa_worker.service.lease import LeaseLost
from fiqa_worker.service.standing import ChunkStanding, Doubt, Standing

_log = logging.getLogger(__name__)


class InDoubt(Exception):  # noqa: N818  an outcome, not an error
    """The chunk was released for other machines."""


def settle_or_release(
    claim: Claim,
    items: Sequence[Item],
    doubt: Doubt,
    *,
    chunk: ChunkStanding,
    process: Standing,
    fleet: Fleet,
    ledger: Ledger,
) -> None:
    """Return if the failures in doubt are results. If they are not, release the chunk and raise.

    Args:
        claim: the chunk.
        items: its items.
        doubt: the failures.
        chunk: what this process has seen in the chunk.
        process: what this process has proven. It backs off from the job if the chunk is released.
        fleet: knows the other workers.
        ledger: decides, and releases the chunk.

    Raises:
        SourceUnavailable: this worker is not allowed to read the source, and other workers are.
        LeaseLost: this process no longer holds the chunk.
        InDoubt: the chunk was released for other machines.
        RedisUnavailableError: Redis does not answer, or refuses.
    """
    if doubt.code is ErrorCode.SOURCE_NOT_ALLOWED:
        if fleet.may_read_more([item.uri for item in items], claim.fingerprint):
            raise SourceUnavailable(doubt.root, "not in FIQA_ALLOWED_SOURCES of this worker; other workers may read it")
        if not fleet.is_alone(claim.fingerprint):
            chunk.settle(doubt)
            return
        needed = 1  # other machines may start later
    else:
        needed = fleet.needed(doubt.uri, doubt.root, claim.fingerprint)
    problem = f"images end as {doubt.code}: {doubt.message}"
    until = "other machines have seen it" if needed > 1 else "it was tried three times"
    decision = ledger.doubts.suspect(
        claim,
        machine=fleet.machine,
        needed=needed,
        last_error=f"{fleet.machine}: {doubt.root}: {problem}; not a result until {until}",
    )
    match decision.action:
        case Action.RESULTS:
            chunk.settle(doubt)
            return
        case Action.LOST:
            raise LeaseLost
    process.back_off(claim.job_id, decision.backoff_s)
    _log.warning(
        "chunk released, this process tries the job again in %g s: %s: %s", decision.backoff_s, doubt.root, problem
    )
    fleet.report(doubt.root, f"{doubt.root} {doubt.code}", f"{doubt.message}: no other machine has seen it yet")
    raise InDoubt
