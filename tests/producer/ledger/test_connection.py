"""A Redis that forgets scripts or cuts connections: nothing is lost."""

from __future__ import annotations

from contextlib import closing

import redis

from fiqa.contract import JobState
from fiqa.ledger.claims import Completion
from fiqa.ledger.ledger import Ledger
from tests.producer.ledger.ledger_jobs import (
    claimed,
    complete,
    opened,
)


def test_scripts_that_redis_forgot_are_sent_again(ledger: Ledger) -> None:
    job_id = opened(ledger)
    ledger.connection.redis.script_flush()
    claim = claimed(ledger)
    ledger.connection.redis.script_flush()
    assert complete(ledger, claim) is Completion.JOB_IS_FINISHED
    assert ledger.status(job_id).state is JobState.SUCCEEDED


def test_connections_that_were_cut_are_opened_again(ledger: Ledger, redis_url: str) -> None:
    job_id = opened(ledger)
    with closing(redis.Redis.from_url(redis_url)) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
    assert claimed(ledger).job_id == job_id
