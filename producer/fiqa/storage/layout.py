"""How the parts of a job are named in a folder and in a bucket: jobs/{id}/results/00000017.jsonl.gz."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

Part = Literal["manifest", "results"]
Document = Literal["job", "summary"]

JOBS: Final = "jobs"
_SHARD_NAME: Final = re.compile(r"[0-9]{8}\.jsonl\.gz")


def job_path(job_id: str) -> str:
    """Return the path of all that belongs to a job."""
    return f"{JOBS}/{job_id}"


def part_path(job_id: str, part: Part) -> str:
    """Return the path of the shards of a part."""
    return f"{JOBS}/{job_id}/{part}"


def shard_path(job_id: str, part: Part, chunk: int) -> str:
    """Return the path of a shard. Paths sort in the order of the chunks."""
    return f"{JOBS}/{job_id}/{part}/{chunk:08d}.jsonl.gz"


def document_path(job_id: str, name: Document) -> str:
    """Return the path of a document."""
    return f"{JOBS}/{job_id}/{name}.json"


def chunks_of(names: Iterable[str]) -> list[int]:
    """Return the numbers of the shards that have these file names, in order. Other files are ignored."""
    return sorted(int(name[:8]) for name in names if _SHARD_NAME.fullmatch(name))
