"""Job ids: they sort by time, and are safe in a key, a path and a URL."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Final

from fiqa.errors import UnknownJobError

_JOB_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


def new_job_id() -> str:
    """Return a new id: date, time in UTC, and six random hex digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def is_job_id(raw: bytes) -> bool:
    """Return whether bytes from Redis are a job id. Anybody may have written them there."""
    return _JOB_ID.fullmatch(raw.decode(errors="replace")) is not None


def check_job_id(job_id: str) -> str:
    """Return `job_id` if it is a job id.

    Raises:
        UnknownJobError: it is not.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJobError(f"{job_id!r} is not a job id: `fiqa jobs` lists them")
    return job_id
