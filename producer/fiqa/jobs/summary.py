"""summary.json: the last status of every finished job, written into its storage for other tools."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

from fiqa.contract import WIRE_VERSION
from fiqa.errors import StorageError, UnknownJobError
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.status import JobStatus
from fiqa.storage.storage import open_storage


def write_summaries(ledger: Ledger) -> int:
    """Write all missing summaries. If one cannot be written, the reconciler tries it again.

    Returns:
        How many were written.

    Raises:
        StorageError: a storage cannot be written.
        RedisUnavailableError: Redis does not answer.
    """
    written = 0
    errors: list[StorageError] = []
    for job_id in ledger.ended():
        try:
            status = ledger.status(job_id)
            storage = open_storage(status.storage, ledger.connection)
            storage.write_document(job_id, "summary", _encode(status))
            if storage.read_document(job_id, "job") is None and not storage.chunks(job_id, "results"):
                storage.delete(job_id)  # the job was deleted while its summary was written
            written += 1
        except UnknownJobError:  # it was deleted
            pass
        except StorageError as error:  # other jobs may have another storage
            errors.append(error)
            continue
        ledger.summarized(job_id)
    if errors:
        raise errors[0]
    return written


def _encode(status: JobStatus) -> bytes:
    times = {name: _iso(getattr(status, name)) for name in ("created", "started", "finished")}
    fields = {"v": WIRE_VERSION, **dataclasses.asdict(status), **times}
    for name in ("eta_s", "last_error", "workers_run", "workers_unfit"):  # they say something only while the job runs
        del fields[name]
    return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
