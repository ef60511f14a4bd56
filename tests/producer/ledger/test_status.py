from __future__ import annotations

import dataclasses

import pytest

from fiqa.contract import JobState
from fiqa.ledger.claims import Counts
from fiqa.ledger.ledger import Ledger
from tests.producer.ledger.ledger_jobs import (
    beat,
    claimed,
    opened,
)
from tests.producer.status import STATUS
from tests.waiting import wait_until


def test_a_status_shows_whether_workers_run_and_has_an_eta_only_if_they_do(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2, images=20)
    assert not ledger.status(job_id).workers_run
    beat(ledger)
    claim = claimed(ledger)
    ledger.complete(job_id, claim.chunk, Counts(10, 0, 10, {}, {}))
    running = ledger.status(job_id)
    assert running.workers_run
    assert running.eta_s is not None
    beat(ledger, seconds=0.01)
    wait_until(lambda: not ledger.status(job_id).workers_run)
    abandoned = ledger.status(job_id)
    assert abandoned.images_per_s
    assert abandoned.eta_s is None


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_finished_in_three_of_its_states(state: JobState) -> None:
    status = dataclasses.replace(STATUS, state=state)
    assert status.is_finished == (state in {JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED})


def test_images_are_done_however_they_ended() -> None:
    assert dataclasses.replace(STATUS, scored=10, no_face=200, failed=3000).images_done == 3210
