"""summary.json, written into the home of every job that is finished, for those who read it with other tools."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

from fiqa.contract import WIRE_VERSION
from fiqa.errors import HomeError, UnknownJobError
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.status import JobStatus
from fiqa.storage.storage import open_home


def write_summaries(ledger: Ledger) -> int:
    """Write those that are due; returns how many. What fails stays due, and every worker's reconciler tries again.

    Raises:
        HomeError: a home cannot be written.
        RedisUnavailableError: Redis does not answer.
    """
    written = 0
    troubles: list[HomeError] = []
    for job_id in ledger.ended():
        try:
            status = ledger.status(job_id)
            home = open_home(status.home, ledger)
            home.write_document(job_id, "summary", _encode(status))
            if home.read_document(job_id, "job") is None and not home.chunks(job_id, "results"):
                home.delete(job_id)  # all else was deleted meanwhile, and this came after it
            written += 1
        except UnknownJobError:  # deleted meanwhile
            pass
        except HomeError as error:  # of this one; others have homes of their own
            troubles.append(error)
            continue
        ledger.summarised(job_id)
    if troubles:
        raise troubles[0]
    return written


def _encode(status: JobStatus) -> bytes:
    times = {name: _iso(getattr(status, name)) for name in ("created", "started", "finished")}
    fields = {"v": WIRE_VERSION, **dataclasses.asdict(status), **times}
    del fields["eta_s"], fields["workers_run"]  # they were of the moment
    return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
