"""A claim of a chunk, and what is counted when the chunk is complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from fiqa.contract import ErrorCode, ImageResult, Status
from fiqa.ledger.chunk_sizes import size_of

ISOLATED_FROM_ATTEMPT: Final = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk that this worker holds until the lease expires.

    Attributes:
        attempt: the number of this claim of the chunk, from 1. Claims that were released do not count.
        token: the fencing token, of this claim alone: the time of the claim by Redis's clock, in microseconds, and
            the id of the worker after an @. With another token a worker can change nothing.
        storage: the URL of the job's storage.
        quarantined: items that must not be computed, by index: they killed a worker, or hung in it.
        size: the number of its images; 0 if the ledger does not know it.
        fingerprint: the job's fingerprint. Empty if it has none yet, "*" if any worker fits.
        options: the job's options as JSON.
    """

    job_id: str
    chunk: int
    attempt: int
    token: str
    storage: str
    quarantined: Mapping[int, ErrorCode]
    size: int = 0
    fingerprint: str = ""
    options: str = "{}"

    @classmethod
    def read(cls, reply: Sequence[Any]) -> Self:
        """Read the part of the reply of claim.lua that is about the chunk."""
        job, chunk, attempt, token, storage, quarantined, sizes, fingerprint, options = reply
        pairs = (pair.split(":") for pair in quarantined.decode().split())
        return cls(
            job_id=job.decode(),
            chunk=int(chunk),
            attempt=int(attempt),
            token=token.decode(),
            storage=storage.decode(),
            quarantined={int(index): ErrorCode(code) for index, code in pairs},
            size=size_of(int(chunk), sizes.decode()),
            fingerprint=fingerprint.decode(),
            options=options.decode(),
        )

    @property
    def isolated(self) -> bool:
        """Whether to compute one item at a time, and to record each one first: earlier workers died on this chunk."""
        return self.attempt >= ISOLATED_FROM_ATTEMPT


@dataclass(frozen=True, slots=True)
class Claimant:
    """The process that asks for a chunk. The default takes any chunk.

    Attributes:
        machine: its name. A chunk that this machine failed before is claimed only if its job has no other. Empty: any.
        fingerprint: its fingerprint. Jobs with another one are skipped. Empty: it fits every job.
        worker: the id of its worker, as in the registry of workers. Empty: nobody can see who holds the chunk.
        avoided: the jobs that it backs off from.
    """

    machine: str = ""
    fingerprint: str = ""
    worker: str = ""
    avoided: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to a claimant.

    Attributes:
        claim: None if there is nothing for it.
        passed_over: number of due jobs that were skipped.
        unfit: the skipped jobs with another fingerprint.
    """

    claim: Claim | None
    passed_over: int
    unfit: tuple[str, ...]


class Completion(StrEnum):
    """The outcome of counting a chunk. The values are the replies of complete.lua."""

    COUNTED = "counted"
    COUNTED_BEFORE = "counted_before"
    JOB_IS_FINISHED = "job_is_finished"  # by this chunk
    JOB_IS_GONE = "job_is_gone"


@dataclass(frozen=True, slots=True)
class Counts:
    """How the images of a chunk ended.

    Attributes:
        models: number of images by detector and quality model, as "detector/quality_model".
    """

    scored: int
    no_face: int
    faces: int
    failed: Mapping[ErrorCode, int]
    models: Mapping[str, int]

    @classmethod
    def of(cls, results: Sequence[ImageResult]) -> Self:
        """Count these results."""
        return cls(
            scored=sum(result.status is Status.SCORED for result in results),
            no_face=sum(result.status is Status.NO_FACE for result in results),
            faces=sum(len(result.faces) for result in results),
            failed=Counter(result.error.code for result in results if result.error),
            models=Counter(f"{result.detector}/{result.quality_model}" for result in results),
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            scored=self.scored + other.scored,
            no_face=self.no_face + other.no_face,
            faces=self.faces + other.faces,
            failed=Counter(self.failed) + Counter(other.failed),
            models=Counter(self.models) + Counter(other.models),
        )

    def increments(self) -> list[str | int]:
        """Return counters of the job's hash, each followed by the number to add, as complete.lua takes them."""
        pairs: list[str | int] = ["scored", self.scored, "no_face", self.no_face, "faces", self.faces]
        pairs += ["failed", sum(self.failed.values())]
        for code, number in self.failed.items():
            pairs += [f"failed:{code}", number]
        for models, number in self.models.items():
            pairs += [f"models:{models}", number]
        return pairs
