"""summary.json: the last status of every finished job, written into its storage for other tools."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fiqa.contract import WIRE_VERSION, JobState, Priority
from fiqa.errors import FiqaError, RedisUnavailableError, UnknownJobError
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.status import JobStatus
from fiqa.storage.storage import Storage


def write_summary(job_id: str, *, ledger: Ledger, open_storage: Callable[[str], Storage]) -> None:
    """Write the summary of a finished job, if the job is still there.

    Raises:
        FiqaError: its storage cannot be opened or written, or Redis does not answer. `last_error` of the job says why.
    """
    try:
        status = ledger.status(job_id)
    except UnknownJobError:  # it was deleted
        return
    if not status.is_finished:  # it is being repaired
        return
    try:
        storage = open_storage(status.storage)
        storage.write_document(job_id, "summary", _encode(status))
        if storage.read_document(job_id, "job") is None and not storage.chunks(job_id, "results"):
            storage.delete(job_id)  # the job was deleted while its summary was written
    except FiqaError as error:
        ledger.summary_failed(job_id, f"summary.json is not written: {error}")
        raise
    ledger.summarized(job_id, chunks_done=status.chunks_done)


def write_summaries(ledger: Ledger, write: Callable[[str], object]) -> int:
    """Write all summaries whose next try is now. If one cannot be written, it is tried again later.

    Args:
        ledger: knows the jobs.
        write: writes the summary of one job, as write_summary does.

    Returns:
        How many were written.

    Raises:
        FiqaError: a summary could not be written. The others were tried too.
    """
    written = 0
    first: FiqaError | None = None
    while job_id := ledger.take_summary():
        try:
            write(job_id)
            written += 1
        except RedisUnavailableError:
            raise
        except FiqaError as error:  # other jobs may have another storage
            first = first or error
    if first:
        raise first
    return written


def stored_jobs(ledger: Ledger, storage: Storage, *, limit: int) -> list[JobStatus]:
    """Return the newest finished jobs in a storage that Redis does not know any more, newest first.

    Raises:
        StorageError: the storage does not answer or refuses.
    """
    known, _ = ledger.known()
    found: list[JobStatus] = []
    for job_id in reversed(storage.jobs()):
        if len(found) == limit:
            break
        document = None if job_id in known else storage.read_document(job_id, "summary")
        status = document and _decode(document)
        if status:
            found.append(status)
    return found


def _decode(document: bytes) -> JobStatus | None:
    """Return the status that a summary has; None if it is damaged, or of a version that does not fit."""
    try:
        fields: dict[str, Any] = json.loads(document)
        del fields["v"]
        for name in ("created", "started", "finished"):
            fields[name] = fields[name] and datetime.fromisoformat(fields[name]).timestamp()
        fields |= {"state": JobState(fields["state"]), "priority": Priority(fields["priority"])}
        return JobStatus(**fields, eta_s=None, last_error=None, workers_run=False, workers_unfit=0)
    except (ValueError, KeyError, TypeError):
        return None


def _encode(status: JobStatus) -> bytes:
    times = {name: _iso(getattr(status, name)) for name in ("created", "started", "finished")}
    fields = {"v": WIRE_VERSION, **dataclasses.asdict(status), **times}
    for name in ("eta_s", "last_error", "workers_run", "workers_unfit"):  # they have a meaning only while the job runs
        del fields[name]
    return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
