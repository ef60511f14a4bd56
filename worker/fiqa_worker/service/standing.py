"""Decides in each pool process which failures are results, and which may be the fault of this machine.

If a process has read an image of a source, the next failures for that source are results: up to CREDIT in a row. The
limit is needed because a token may expire or a mount may be lost in the middle of a job. The same applies to internal
errors if a process has scored an image of any source: its GPU may fail, or its memory may be full. All other failures
that may depend on the machine are doubts. The ledger decides whether a doubt is a result (fiqa/ledger/doubts.py).

Nothing here calls Redis.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fiqa.contract import ErrorCode, ImageResult, Status
from fiqa.ledger.doubts import LONGEST_BACKOFF_S

CREDIT: Final = 16
# After this many doubts in a row, the ledger must decide before the rest of the chunk is tried.
DOUBTS_IN_A_ROW: Final = 16

# The codes of images that fail if a machine lacks a network share, a permission, the network, memory or its GPU.
_DEPENDS_ON_MACHINE: Final = frozenset(
    {
        ErrorCode.NOT_FOUND,
        ErrorCode.ACCESS_DENIED,
        ErrorCode.SOURCE_NOT_ALLOWED,
        ErrorCode.FETCH_FAILED,
        ErrorCode.FETCH_TIMEOUT,
        ErrorCode.INTERNAL_ERROR,
    }
)
# The image was read, but cannot be scored. All other codes say nothing about the fetch.
_WAS_READ: Final = frozenset(
    {ErrorCode.TOO_LARGE, ErrorCode.UNSUPPORTED_FORMAT, ErrorCode.DECODE_FAILED, ErrorCode.TOO_MANY_PIXELS}
)
_ANY_BUCKET: Final = "s3://"
_NOT_ALLOWED: Final = "not allowed"
_SCORING: Final = "scoring"  # takes the place of a source in doubts about internal errors


@dataclass(frozen=True, slots=True)
class Doubt:
    """A failure that may be the fault of this machine.

    Attributes:
        subject: what the failure is about. A success that proves this subject ends the doubt.
        root: the source, or "scoring".
        uri: the image.
        code: the error code of the failure.
        message: the message of the failure.
    """

    subject: str
    root: str
    uri: str
    code: ErrorCode
    message: str


class Standing:
    """Which sources this process has read, and which jobs it backs off from. Use it in one thread only."""

    def __init__(self, root_of: Callable[[str], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Create it. No source has been read yet.

        Args:
            root_of: returns the root of a URI, such as Roots.root_of.
            clock: a function like time.monotonic.
        """
        self._root_of = root_of
        self._clock = clock
        self._credit: dict[str, int] = {}
        self._unavailable: Counter[str] = Counter()
        self._avoided: dict[str, float] = {}

    def start_chunk(self) -> ChunkStanding:
        """Return the standing of a new chunk."""
        return ChunkStanding(self)

    def subject_of(self, uri: str, code: ErrorCode | None) -> str:
        """Return what a failure with this code is about. Without a code, return what a success proves.

        If S3 answers that an object does not exist, it has accepted this machine's credentials. So an image of any
        bucket is enough to prove such a failure.
        """
        if code is ErrorCode.INTERNAL_ERROR:
            return _SCORING
        root = self._root_of(uri)
        return _ANY_BUCKET if code is ErrorCode.NOT_FOUND and root.startswith(_ANY_BUCKET) else root

    def prove(self, uri: str, *, scored: bool) -> list[str]:
        """Record that an image was read, and whether it was scored. Return the subjects that this proves."""
        root = self._root_of(uri)
        proven = [root]
        if root.startswith(_ANY_BUCKET):
            proven.append(_ANY_BUCKET)
        if scored:
            proven.append(_SCORING)
        for subject in proven:
            self._credit[subject] = CREDIT
        self._unavailable.pop(root, None)
        return proven

    def believe(self, subject: str) -> None:
        """Record that other machines have seen the same. The next failures are then results, as after a success."""
        self._credit[subject] = CREDIT

    def use_credit(self, subject: str) -> bool:
        """Use up one failure of the credit of a subject. Return False if no credit was left."""
        left = self._credit.get(subject, 0)
        if left:
            self._credit[subject] = left - 1
        return left > 0

    def back_off(self, job_id: str, seconds: float) -> None:
        """Claim no chunk of this job for so many seconds."""
        self._avoided[job_id] = self._clock() + seconds

    def cannot_read(self, job_id: str, root: str, lost_s: float = 0.0) -> float:
        """Back off from a job whose source cannot be read here: 2 s, then twice as long each time, up to 60 s.

        The back-off is at least `lost_s`, the time that it took to find this out. So other jobs get at least half of
        the time.

        Returns:
            The length of the back-off in seconds.
        """
        self._unavailable[root] += 1
        seconds: float = max(lost_s, min(LONGEST_BACKOFF_S, 2.0 ** min(self._unavailable[root], 30)))
        self.back_off(job_id, seconds)
        return seconds

    def avoided(self) -> tuple[list[str], float | None]:
        """Return the jobs to back off from now, and the seconds until the first of them can be tried again."""
        now = self._clock()
        self._avoided = {job: until for job, until in self._avoided.items() if until > now}
        return list(self._avoided), min((until - now for until in self._avoided.values()), default=None)


@dataclass(slots=True)
class ChunkStanding:
    """The doubts about one chunk. Its results are added one by one.

    Attributes:
        doubts: the doubts that are not decided, by subject.
        proven: the roots of the images that were read; and "scoring", if one of them was scored.
    """

    standing: Standing
    doubts: dict[str, Doubt] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    _in_a_row: Counter[str] = field(default_factory=Counter)
    _settled: set[str] = field(default_factory=set)

    def add(self, result: ImageResult) -> Doubt | None:
        """Add a result. Return a doubt if the ledger must decide it before the next image is tried."""
        error = result.error
        if error is None or error.code in _WAS_READ:
            proven = self.standing.prove(result.uri, scored=result.status is Status.SCORED)
            self.proven.update(subject for subject in proven if subject != _ANY_BUCKET)
            for subject in proven:
                self.doubts.pop(subject, None)
                self._in_a_row.pop(subject, None)
            return None
        if error.code not in _DEPENDS_ON_MACHINE:
            return None
        root = self.standing.subject_of(result.uri, None)
        if error.code is ErrorCode.SOURCE_NOT_ALLOWED:  # decided by what other workers may read, never by credit
            doubt = Doubt(_NOT_ALLOWED, root, result.uri, error.code, error.message)
            return None if _NOT_ALLOWED in self._settled else doubt
        subject = self.standing.subject_of(result.uri, error.code)
        if subject in self._settled or self.standing.use_credit(subject):
            return None
        if subject == _SCORING:
            root = _SCORING
        doubt = self.doubts.setdefault(subject, Doubt(subject, root, result.uri, error.code, error.message))
        self._in_a_row[subject] += 1
        return doubt if self._in_a_row[subject] == DOUBTS_IN_A_ROW else None

    def settle(self, doubt: Doubt) -> None:
        """Record that this failure is a result, and so are all others with the same subject in this chunk."""
        self._settled.add(doubt.subject)
        self.standing.believe(doubt.subject)
        self.doubts.pop(doubt.subject, None)
