from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from fiqa.contract import ErrorCode, JobSpec
from fiqa.ledger.claims import Claim
from fiqa.ledger.control import Control
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.limits import LEASE_S, LEASES_RENEWED_EVERY_S
from fiqa_worker.service.counters import Counters
from fiqa_worker.service.lease import HUNG_EXIT_STATUS, Lease, LeaseLost
from tests.keys import LEASES, job_key
from tests.worker.service.conftest import StoppableRedis
from tests.worker.service.stepped import SteppedClock

LIMIT_S = 2 * LEASES_RENEWED_EVERY_S


def _never(status: int) -> None:
    pytest.fail(f"the process would end with status {status}")


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def claim(ledger: Ledger) -> Claim:
    return claimed(ledger)


@pytest.fixture
def published() -> list[str]:
    """One element for each time that tickets are published."""
    return []


@pytest.fixture
def lease(ledger: Ledger, claim: Claim, clock: SteppedClock, published: list[str]) -> Iterator[Lease]:
    with make_lease(ledger, claim, clock, lambda: published.append("tickets")) as lease:
        yield lease


def make_lease(
    ledger: Ledger,
    claim: Claim,
    clock: SteppedClock,
    publish_tickets: Callable[[], object] = lambda: None,
    end: Callable[[int], object] = _never,
) -> Lease:
    return Lease(
        ledger,
        claim,
        image_time_limit_s=LIMIT_S,
        publish_tickets=publish_tickets,
        counters=Counters(),
        wait=clock.wait,
        end=end,
    )


def claimed(ledger: Ledger) -> Claim:
    """Claim the one chunk of a new job."""
    job_id = new_job_id()
    submission = ledger.create(JobSpec(id=job_id, created=ledger.connection.now()), storage="redis")
    ledger.open(job_id, submission, chunks=1, images=10)
    return claim_again(ledger)


def claim_again(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


def lease_ends(ledger: Ledger, in_s: float) -> None:
    """Let every lease end in this many seconds."""
    for member in ledger.connection.redis.zrange(LEASES, 0, -1):
        ledger.connection.redis.zadd(LEASES, {member: ledger.connection.now() + in_s})


def seconds_left(ledger: Ledger, claim: Claim) -> float | None:
    score = ledger.connection.redis.zscore(LEASES, f"{claim.job_id}:{claim.chunk}")
    return None if score is None else float(score) - ledger.connection.now()


def test_each_round_renews_the_lease(ledger: Ledger, claim: Claim, lease: Lease, clock: SteppedClock) -> None:
    for _ in range(3):
        lease_ends(ledger, 2.0)
        clock.step()
        left = seconds_left(ledger, claim)
        assert left is not None
        assert LEASE_S - 2 < left <= LEASE_S
        lease.check()
    assert clock.now == 3 * LEASES_RENEWED_EVERY_S


def test_a_job_that_is_cancelled_is_noticed_in_the_next_round(
    ledger: Ledger, claim: Claim, lease: Lease, clock: SteppedClock
) -> None:
    ledger.control(claim.job_id, Control.CANCEL)
    lease.check()
    clock.step()
    with pytest.raises(LeaseLost):
        lease.check()


def test_a_worker_whose_lease_expired_changes_nothing_for_the_next_holder(
    ledger: Ledger, lease: Lease, clock: SteppedClock
) -> None:
    lease_ends(ledger, -1.0)
    other = claim_again(ledger)
    lease_ends(ledger, 2.0)
    clock.step()
    left = seconds_left(ledger, other)
    assert left is not None
    assert left <= 2.0
    with pytest.raises(LeaseLost):
        lease.check()
    with pytest.raises(LeaseLost):
        lease.confirm()
    lease.release()
    assert seconds_left(ledger, other) is not None


def test_the_end_of_the_block_ends_the_renewals_and_keeps_the_chunk(
    ledger: Ledger, claim: Claim, clock: SteppedClock
) -> None:
    with make_lease(ledger, claim, clock):
        pass
    assert clock.now == 0
    assert seconds_left(ledger, claim) is not None


def test_a_chunk_that_is_released_can_be_claimed_at_once_and_has_a_ticket(
    ledger: Ledger, claim: Claim, lease: Lease, clock: SteppedClock, published: list[str]
) -> None:
    lease.release()
    assert published == ["tickets"]
    with pytest.raises(LeaseLost):
        lease.check()
    other = claim_again(ledger)
    assert (other.job_id, other.chunk, other.attempt) == (claim.job_id, claim.chunk, 1)
    clock.step()
    assert ledger.renew(other)


def test_a_chunk_whose_results_are_being_stored_is_not_released(
    ledger: Ledger, claim: Claim, lease: Lease, published: list[str]
) -> None:
    lease.confirm()
    lease.release()
    assert seconds_left(ledger, claim) is not None
    assert ledger.claim() is None
    assert published == ["tickets"]
    lease.check()


def test_an_item_that_hangs_for_its_time_limit_ends_the_process_and_is_quarantined(
    ledger: Ledger, claim: Claim, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: list[int] = []
    with make_lease(ledger, claim, clock, end=statuses.append) as lease, lease.computing(7):
        clock.step()  # this round sees the item for the first time
        with lease.computing(8):  # another thread
            clock.step()
        assert statuses == []
        clock.step()
    assert statuses == [HUNG_EXIT_STATUS]
    assert "item 7 took over 3 s: it will end as time_limit, and this process exits" in caplog.messages
    again = claim_again(ledger)
    assert (again.attempt, again.quarantined) == (1, {7: ErrorCode.TIME_LIMIT})


def test_a_batch_that_hangs_in_the_models_ends_the_process_and_blames_no_item(
    ledger: Ledger, claim: Claim, clock: SteppedClock
) -> None:
    statuses: list[int] = []
    with make_lease(ledger, claim, clock, end=statuses.append) as lease, lease.computing(None):
        for _ in range(3):
            clock.step()
    assert statuses == [HUNG_EXIT_STATUS]
    lease_ends(ledger, -1.0)
    again = claim_again(ledger)
    assert (again.attempt, again.quarantined) == (2, {})


def test_items_that_follow_each_other_do_not_hang(lease: Lease, clock: SteppedClock) -> None:
    for index in range(8):
        with lease.computing(index):
            clock.step()
            clock.step()
        lease.check()
    for _ in range(8):  # between two items, as while one is fetched
        clock.step()
    lease.check()


def test_an_item_in_flight_is_recorded(ledger: Ledger, claim: Claim, lease: Lease) -> None:
    lease.on_item_start(3)
    assert ledger.connection.redis.hgetall(job_key(claim.job_id, "in_flight")) == {b"0": b"3"}
    ledger.control(claim.job_id, Control.CANCEL)
    with pytest.raises(LeaseLost):
        lease.on_item_start(4)


def test_a_redis_that_is_away_is_logged_once_and_the_lease_is_kept(
    stoppable_redis: StoppableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SteppedClock()
    with closing(Ledger(stoppable_redis.url)) as ledger:
        claim = claimed(ledger)
        with make_lease(ledger, claim, clock) as lease:
            stoppable_redis.stop()
            clock.step()
            clock.step()
            stoppable_redis.start()
            lease_ends(ledger, 2.0)
            clock.step()
            lease.check()
            left = seconds_left(ledger, claim)
            assert left is not None
            assert left > 2.0
    assert len([line for line in caplog.messages if line.startswith("lease not renewed: ")]) == 1
