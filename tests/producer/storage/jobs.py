"""The ids of two jobs that the tests of storages share."""

from __future__ import annotations

from fiqa.ledger.job_id import new_job_id

JOB = new_job_id()
OTHER_JOB = new_job_id()
