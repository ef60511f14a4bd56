"""The times in a status: pace and time left."""

from __future__ import annotations

import pytest

from fiqa.ledger.control import Control
from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.ledger.ledger_jobs import (
    beat,
    claimed,
    complete,
    opened,
    scored,
)


def set_times(ledger: Ledger, job_id: str, **ago: float) -> None:
    now, _ = ledger.connection.redis.time()
    for name, seconds in ago.items():
        ledger.connection.redis.hset(job_key(job_id), name, f"{now - seconds:.3f}")


def test_a_job_that_has_not_started_has_no_pace(ledger: Ledger) -> None:
    status = ledger.status(opened(ledger))
    assert (status.started, status.images_per_s, status.eta_s) == (None, None, None)


def test_the_pace_of_a_running_job_is_that_of_the_last_minute(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=100, images=10_000)
    complete(ledger, claimed(ledger), scored(600))
    set_times(ledger, job_id, started=3600)
    beat(ledger)
    status = ledger.status(job_id)
    assert status.images_per_s is not None
    assert status.eta_s is not None
    # The window is a minute and up to one bucket of 5 s. Allow twice that if the machine stalls.
    assert 600 / 70 / 2 < status.images_per_s <= 600 / 60
    assert status.images_per_s * status.eta_s == pytest.approx(9_400)


def test_images_done_before_the_last_minute_do_not_count_for_the_pace(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=100, images=10_000)
    complete(ledger, claimed(ledger), scored(600))
    (bucket,) = ledger.connection.redis.hkeys(job_key(job_id, "pace"))
    ledger.connection.redis.hset(job_key(job_id, "pace"), int(bucket) - 100, 5_000)
    set_times(ledger, job_id, started=3600)
    pace = ledger.status(job_id).images_per_s
    assert pace is not None
    assert pace <= 600 / 60
    ledger.connection.redis.hdel(job_key(job_id, "pace"), bucket)
    complete(ledger, claimed(ledger))  # the first of a bucket drops the old ones
    assert str(int(bucket) - 100).encode() not in ledger.connection.redis.hkeys(job_key(job_id, "pace"))


def test_a_job_that_stalls_has_no_eta(ledger: Ledger) -> None:
    job_id = opened(ledger)
    claimed(ledger)
    set_times(ledger, job_id, started=3600)
    status = ledger.status(job_id)
    assert (status.images_per_s, status.eta_s) == (0, None)


def test_the_pace_of_a_finished_job_is_that_of_its_whole_run(ledger: Ledger) -> None:
    job_id = opened(ledger)
    complete(ledger, claimed(ledger), scored(600))
    set_times(ledger, job_id, started=300, finished=100)
    status = ledger.status(job_id)
    assert status.images_per_s == pytest.approx(3)
    assert status.eta_s is None


def test_a_pause_does_not_count_for_the_pace_of_a_job_that_runs_again(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=3, images=1_800)
    ledger.complete(job_id, claimed(ledger).chunk, scored(600))
    ledger.control(job_id, Control.PAUSE)
    set_times(ledger, job_id, started=60, still_since=50)
    ledger.control(job_id, Control.RESUME)
    ledger.complete(job_id, claimed(ledger).chunk, scored(600))
    set_times(ledger, job_id, resumed=10)
    assert ledger.status(job_id).images_per_s == pytest.approx(60, rel=0.2)


def test_pauses_do_not_count_for_the_pace_of_a_finished_job(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2, images=1_200)
    claims = [claimed(ledger), claimed(ledger)]
    ledger.control(job_id, Control.PAUSE)
    set_times(ledger, job_id, started=300, still_since=200)
    ledger.complete(job_id, claims[0].chunk, scored(600))  # it was in flight: the job stands still from now on
    assert float(ledger.connection.redis.hget(job_key(job_id), "still_since") or 0) > ledger.connection.now() - 10
    set_times(ledger, job_id, still_since=200)
    ledger.control(job_id, Control.RESUME)
    ledger.complete(job_id, claims[1].chunk, scored(600))
    assert ledger.status(job_id).images_per_s == pytest.approx(12, rel=0.1)


def test_a_pause_before_the_first_chunk_and_one_that_a_cancel_ends(ledger: Ledger) -> None:
    job_id = opened(ledger, chunks=2, images=1_200)
    ledger.control(job_id, Control.PAUSE)
    set_times(ledger, job_id, still_since=1_000)
    ledger.control(job_id, Control.RESUME)
    ledger.complete(job_id, claimed(ledger).chunk, scored(600))
    ledger.control(job_id, Control.PAUSE)
    set_times(ledger, job_id, started=300, still_since=200)
    ledger.control(job_id, Control.CANCEL)
    assert ledger.status(job_id).images_per_s == pytest.approx(6, rel=0.1)


def test_times_are_in_order_and_from_redis_clock(ledger: Ledger) -> None:
    seconds, micros = ledger.connection.redis.time()
    job_id = opened(ledger)
    complete(ledger, claimed(ledger))
    status = ledger.status(job_id)
    assert status.started is not None
    assert status.finished is not None
    assert seconds + micros / 1e6 - 0.001 <= status.created <= status.started + 0.001 <= status.finished + 0.002
