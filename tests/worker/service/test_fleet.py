"""The other workers as one process sees them, in a real Redis."""

from __future__ import annotations

import pytest

from fiqa.ledger.doubts import NEVER_ENOUGH
from fiqa.ledger.ledger import Ledger
from fiqa_worker.service.fleet import Fleet
from tests.producer.ledger.ledger_jobs import beat
from tests.worker.service.stepped import SteppedClock

ALLOWED = ("s3://", "file:///data")
URI = "s3://a/1.jpg"


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def fleet(ledger: Ledger, clock: SteppedClock) -> Fleet:
    return Fleet(ledger.workers, machine="me", worker_id="me:1:0", allowed=ALLOWED, clock=clock)


def test_a_machine_alone_needs_no_other(ledger: Ledger, fleet: Fleet) -> None:
    beat(ledger, "me:1:0", allowed_sources=ALLOWED)
    beat(ledger, "me:2:0", allowed_sources=ALLOWED)
    assert fleet.needed(URI, "s3://a", "") == 1
    assert fleet.is_alone("")
    assert fleet.claims_as == ""


@pytest.mark.parametrize(("others", "needed"), [(1, 2), (2, 3), (9, 3)])
def test_all_machines_are_needed_and_three_at_most(ledger: Ledger, fleet: Fleet, others: int, needed: int) -> None:
    for number in range(others):
        beat(ledger, f"m{number}:1:0", allowed_sources=ALLOWED)
        beat(ledger, f"m{number}:2:0", allowed_sources=ALLOWED)
    assert fleet.needed(URI, "s3://a", "") == needed
    assert fleet.claims_as == "me"


def test_machines_that_do_not_fit_or_cannot_read_the_image_are_not_counted(ledger: Ledger, fleet: Fleet) -> None:
    beat(ledger, "other-settings:1:0", allowed_sources=ALLOWED, fingerprint="b")
    beat(ledger, "other-sources:1:0", allowed_sources=("s3://b",), fingerprint="a")
    beat(ledger, "unable:1:0", allowed_sources=ALLOWED, fingerprint="a")
    ledger.workers.report("unable:1:0", "s3://a", "no credentials")
    assert fleet.needed(URI, "s3://a", "a") == 1
    assert fleet.needed("s3://c/1.jpg", "s3://c", "*") == 3


def test_no_number_of_machines_is_enough_against_one_that_has_read_the_source(
    ledger: Ledger, fleet: Fleet, clock: SteppedClock
) -> None:
    for host in ("one", "two", "three", "four"):
        beat(ledger, f"{host}:1:0", allowed_sources=ALLOWED)
    ledger.workers.report_read("four:1:0", "s3://a")
    assert fleet.needed(URI, "s3://a", "") == NEVER_ENOUGH
    assert fleet.needed("s3://b/1.jpg", "s3://b", "") == 3
    beat(ledger, "me:1:0", allowed_sources=ALLOWED)
    fleet.has_read({"s3://a"})
    clock.now += 5
    assert fleet.needed(URI, "s3://a", "") == 3


def test_images_that_are_not_allowed_go_to_a_machine_that_may_read_all_readable_ones(
    ledger: Ledger, fleet: Fleet, clock: SteppedClock
) -> None:
    uris = ["s3://a/1.jpg", "file:///data/1.jpg", "file:///more/1.jpg", "file:///nowhere/1.jpg"]
    beat(ledger, "same:1:0", allowed_sources=ALLOWED)
    assert not fleet.may_read_more(uris, "")
    beat(ledger, "half:1:0", allowed_sources=("file:///more",))
    clock.now += 5
    assert not fleet.may_read_more(uris, "")  # it could read one image, and not the others
    beat(ledger, "all:1:0", allowed_sources=("s3://", "file:///data", "file:///more"))
    clock.now += 5
    assert fleet.may_read_more(uris, "")
    assert not fleet.may_read_more(uris[:2], "")


def test_what_a_process_cannot_read_is_reported_at_intervals_until_it_can(
    ledger: Ledger, fleet: Fleet, clock: SteppedClock
) -> None:
    beat(ledger, "me:1:0")

    def problems() -> dict[str, str]:
        (worker,) = ledger.workers.all()
        return dict(worker.problems)

    fleet.report("s3://a", "s3://a not_found", "first")
    fleet.report("s3://a", "s3://a not_found", "second")
    fleet.report("s3://b", "s3://b", "no credentials")
    assert problems() == {"s3://a not_found": "first", "s3://b": "no credentials"}
    clock.now += 30
    fleet.report("s3://a", "s3://a not_found", "third")
    assert problems()["s3://a not_found"] == "third"
    fleet.has_read({"s3://a"})
    assert problems() == {"s3://b": "no credentials"}
    (worker,) = ledger.workers.all()
    assert worker.sources_read == ("s3://a",)


def test_a_job_that_does_not_fit_is_logged_once(
    ledger: Ledger, fleet: Fleet, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    beat(ledger, "me:1:0")
    for _ in range(3):
        fleet.does_not_fit("20250101-000000-abcdef", "ab12")
        clock.now += 30
    assert len(caplog.messages) == 1
    (worker,) = ledger.workers.all()
    assert "job 20250101-000000-abcdef" in worker.problems
