"""summary.json, written into the storage of every job that is finished, for those who read it with other tools."""

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
    """Write those that are due; returns how many. What fails stays due, and every worker's reconciler tries again.

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
                storage.delete(job_id)  # all else was deleted meanwhile, and this came after it
            written += 1
        except UnknownJobError:  # deleted meanwhile
            pass
        except StorageError as error:  # of this one; others have storages of their own
            errors.append(error)
            continue
        ledger.summarized(job_id)
    if errors:
        raise errors[0]
    return written


def _encode(status: JobStatus) -> bytes:
    times = {name: _iso(getattr(status, name)) for name in ("created", "started", "finished")}
    fields = {"v": WIRE_VERSION, **dataclasses.asdict(status), **times}
    del fields["eta_s"], fields["workers_run"], fields["last_error"]  # they matter only while a job runs
    return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
