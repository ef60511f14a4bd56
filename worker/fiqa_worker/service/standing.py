"""What a pool process has proven: which failures are results, and which may be the fault of this machine.

A process that has read an image of a source is believed if the next ones fail: up to CREDIT of them in a row, so that
an expired token or a lost mount does not end a job. A failure that it is not believed for is a doubt. Whether it is a
result is decided in the ledger (fiqa/ledger/doubts.py).

Nothing here calls Redis.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fiqa.contract import ErrorCode, ImageResult
from fiqa.ledger.doubts import LONGEST_BACKOFF_S

CREDIT: Final = 16
# After so many doubts in a row the rest of a chunk is not tried before the ledger has decided.
ROW: Final = 16

# What a machine without the right share, right or network ends images as.
_DEPENDS_ON_MACHINE: Final = frozenset(
    {
        ErrorCode.NOT_FOUND,
        ErrorCode.ACCESS_DENIED,
        ErrorCode.SOURCE_NOT_ALLOWED,
        ErrorCode.FETCH_FAILED,
        ErrorCode.FETCH_TIMEOUT,
    }
)
# The image was read, and cannot be scored. All other codes say nothing of the fetch.
_WAS_READ: Final = frozenset(
    {ErrorCode.TOO_LARGE, ErrorCode.UNSUPPORTED_FORMAT, ErrorCode.DECODE_FAILED, ErrorCode.TOO_MANY_PIXELS}
)
_ANY_BUCKET: Final = "s3://"
_NOT_ALLOWED: Final = "not allowed"


@dataclass(frozen=True, slots=True)
class Doubt:
    """A failure that may be the fault of this machine.

    Attributes:
        subject: what would have to be proven.
        root: the source.
        uri: the image.
        code: of the failure.
        message: of the failure.
    """

    subject: str
    root: str
    uri: str
    code: ErrorCode
    message: str


class Standing:
    """What this process has proven, and the jobs that it backs off from. For one thread."""

    def __init__(self, root_of: Callable[[str], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is proven yet.

        Args:
            root_of: returns the root of a URI: Roots.root_of.
            clock: as time.monotonic.
        """
        self._root_of = root_of
        self._clock = clock
        self._credit: dict[str, int] = {}
        self._unavailable: Counter[str] = Counter()
        self._avoided: dict[str, float] = {}

    def read_chunk(self) -> ChunkStanding:
        """Begin a chunk."""
        return ChunkStanding(self)

    def subject_of(self, uri: str, code: ErrorCode | None) -> str:
        """Return what a failure with this code is about; without a code, what a success proves.

        That an object does not exist is the answer of a server that takes this machine's credentials. So any other
        object of that server proves it.
        """
        root = self._root_of(uri)
        return _ANY_BUCKET if code is ErrorCode.NOT_FOUND and root.startswith(_ANY_BUCKET) else root

    def prove(self, uri: str) -> str:
        """An image of this source was read. Returns its root."""
        root = self._root_of(uri)
        self._credit[root] = CREDIT
        if root.startswith(_ANY_BUCKET):
            self._credit[_ANY_BUCKET] = CREDIT
        self._unavailable.pop(root, None)
        return root

    def believe(self, subject: str) -> None:
        """Others have seen the same: the next failures are believed as after a success."""
        self._credit[subject] = CREDIT

    def takes_credit(self, subject: str) -> bool:
        """Return whether one more failure in a row is believed."""
        left = self._credit.get(subject, 0)
        if left:
            self._credit[subject] = left - 1
        return left > 0

    def back_off(self, job_id: str, seconds: float) -> None:
        """Claim no chunk of a job for so long."""
        self._avoided[job_id] = self._clock() + seconds

    def cannot_read(self, job_id: str, root: str) -> float:
        """Back off from a job whose source cannot be read here: 2 s, then twice as long each time, up to 60 s.

        Returns:
            The seconds.
        """
        self._unavailable[root] += 1
        seconds: float = min(LONGEST_BACKOFF_S, 2.0 ** min(self._unavailable[root], 30))
        self.back_off(job_id, seconds)
        return seconds

    def avoided(self) -> tuple[list[str], float | None]:
        """Return the jobs to back off from now, and the seconds until the first of them can be tried again."""
        now = self._clock()
        self._avoided = {job: until for job, until in self._avoided.items() if until > now}
        return list(self._avoided), min((until - now for until in self._avoided.values()), default=None)


@dataclass(slots=True)
class ChunkStanding:
    """The doubts about one chunk, result by result.

    Attributes:
        doubts: those that are open, by subject.
        proven: the roots of the images that were read.
    """

    standing: Standing
    doubts: dict[str, Doubt] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    _row: Counter[str] = field(default_factory=Counter)
    _settled: set[str] = field(default_factory=set)

    def note(self, result: ImageResult) -> Doubt | None:
        """Note a result. Returns a doubt if the ledger must decide before the chunk goes on."""
        error = result.error
        if error is None or error.code in _WAS_READ:
            root = self.standing.prove(result.uri)
            self.proven.add(root)
            for subject in (root, _ANY_BUCKET) if root.startswith(_ANY_BUCKET) else (root,):
                self.doubts.pop(subject, None)
                self._row.pop(subject, None)
            return None
        if error.code not in _DEPENDS_ON_MACHINE:
            return None
        root = self.standing.subject_of(result.uri, None)
        if error.code is ErrorCode.SOURCE_NOT_ALLOWED:  # decided by what other workers may read, never by credit
            doubt = Doubt(_NOT_ALLOWED, root, result.uri, error.code, error.message)
            return None if _NOT_ALLOWED in self._settled else doubt
        subject = self.standing.subject_of(result.uri, error.code)
        if subject in self._settled or self.standing.takes_credit(subject):
            return None
        doubt = self.doubts.setdefault(subject, Doubt(subject, root, result.uri, error.code, error.message))
        self._row[subject] += 1
        return doubt if self._row[subject] == ROW else None

    def settle(self, doubt: Doubt) -> None:
        """The failures are results: this one, and all others of its subject in this chunk."""
        self._settled.add(doubt.subject)
        self.standing.believe(doubt.subject)
        self.doubts.pop(doubt.subject, None)
