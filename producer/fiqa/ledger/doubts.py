"""Decides whether failures are results, if they may be the fault of a worker's machine.

If a machine lacks a mounted folder, a permission or the network, it fails its chunks much faster than other machines
score theirs. So it would fail most of a job. Therefore a failure that can depend on the machine is a result only if the
machine has read that source before, or if other machines have seen the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fiqa.ledger.claims import Claim
from fiqa.ledger.connection import Connection

MACHINES_NEEDED: Final = 3  # this many machines must have seen a failure, or all machines if fewer run
NEVER_ENOUGH: Final = 1_000_000
_ALONE_S: Final = 60.0
_PATIENCE_S: Final = 900.0
LONGEST_BACKOFF_S: Final = 60.0


class Action(StrEnum):
    """What to do with a chunk whose failures are in doubt. The values are the replies of suspect.lua."""

    RESULTS = "results"  # the failures are results: go on
    RELEASED = "released"  # the chunk is released for other machines
    LOST = "lost"  # the lease is lost


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a chunk with failures in doubt.

    Attributes:
        action: what to do with the chunk.
        backoff_s: seconds for which this process must claim no chunk of the job, if the chunk is released.
    """

    action: Action
    backoff_s: float


class Doubts:
    """The failures in doubt, in Redis. Threads may share it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._suspect = connection.script("suspect")

    def suspect(self, claim: Claim, *, machine: str, needed: int, last_error: str) -> Decision:
        """Decide whether failures that may be the fault of this machine are results. If not, release the chunk.

        Args:
            claim: the chunk.
            machine: the name of this machine.
            needed: number of machines that must have seen the failures. NEVER_ENOUGH: another machine has read this
                source, so that machine must try the chunk. If it does not, the failures are results after 15 minutes.
            last_error: one line for the job's status.

        Raises:
            RedisUnavailableError: Redis does not answer, or refuses.
        """
        limits = (_ALONE_S, _PATIENCE_S, LONGEST_BACKOFF_S)
        with self._connection.errors():
            action, backoff_s = self._suspect(
                args=[claim.job_id, claim.chunk, claim.token, machine, needed, last_error, *limits]
            )
        return Decision(Action(action.decode()), float(backoff_s))
