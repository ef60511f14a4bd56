"""Job ids."""

from __future__ import annotations

import pytest

from fiqa.errors import UnknownJobError
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger


def test_job_ids_differ_and_sort_by_time() -> None:
    ids = [new_job_id() for _ in range(10)]  # of 50 ids, two would be the same once in 14,000 runs
    assert len(set(ids)) == 10
    assert [job_id[:15] for job_id in ids] == sorted(job_id[:15] for job_id in ids)


@pytest.mark.parametrize("job_id", ["", "backfill", "20250101-000000-ABCDEF", "20250101-000000-abcdef\n", "../x", "*"])
def test_something_that_is_not_a_job_id_is_not_looked_up(ledger: Ledger, job_id: str) -> None:
    with pytest.raises(UnknownJobError, match=r"is not a job id: `fiqa jobs` lists them$"):
        ledger.status(job_id)
