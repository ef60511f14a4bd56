from __future__ import annotations

import pytest

from fiqa_worker.service.outage import Outage
from tests.worker.service.stepped import nothing


class Time:
    """A clock that advances only while the code sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_an_outage_is_reported_once_and_another_answer_again(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for text in ("READONLY", "READONLY", "LOADING"):
        outage.report(RuntimeError(text))
        outage.connected()
    assert caplog.messages == [f"Redis is unavailable, retrying: {text}" for text in ("READONLY", "LOADING")]


def test_pauses_grow_to_eight_seconds_and_a_working_connection_ends_the_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time = Time()
    outage = Outage(clock=time, sleep=time.sleep)

    def pause() -> float:
        before = time.now
        outage.report(RuntimeError("READONLY"))
        outage.wait(nothing)
        outage.connected()
        return time.now - before

    assert [pause() for _ in range(5)] == [1, 2, 4, 8, 8]
    time.sleep(60)
    assert pause() == 1
    assert len(caplog.messages) == 2


def test_an_error_after_the_end_of_an_outage_is_reported_again(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for _ in range(2):
        outage.report(RuntimeError("READONLY"))
        outage.end()
    assert len(caplog.messages) == 2


def test_a_pause_ends_when_the_worker_is_stopped() -> None:
    time = Time()
    outage = Outage(clock=time, sleep=time.sleep)

    def stop() -> None:
        if time.now > 1:
            raise SystemExit

    outage.wait(stop)
    with pytest.raises(SystemExit):
        outage.wait(stop)
    assert time.now < 2
