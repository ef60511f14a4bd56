"""A status for tests."""

from __future__ import annotations

from fiqa.contract import JobState, Priority
from fiqa.ledger.status import JobStatus

STATUS = JobStatus(
    id="20250101-000000-abcdef",
    name=None,
    state=JobState.RUNNING,
    images=12_000,
    scored=1_234,
    no_face=5,
    failed=0,
    failed_by_code={},
    faces=1_300,
    chunks=60,
    chunks_done=6,
    images_per_s=None,
    eta_s=None,
    created=0,
    started=0,
    finished=None,
    last_error=None,
    reason=None,
    priority=Priority.NORMAL,
    storage="redis",
    parent=None,
    models={},
    max_failed=0.5,
    keep_s=60,
    fingerprint=None,
    options={},
    workers_run=True,
    workers_unfit=0,
)
