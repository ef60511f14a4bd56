"""Workers that hang or go away while they hold a chunk."""

from __future__ import annotations

import signal
from contextlib import closing
from random import Random

import pytest

from tests.faults.short import MARKS, SEED, WAIT_S, WORKERS_STOPPED, injure
from tests.faults.system import CHUNK_IMAGES, WORKERS, System, wait_until
from tests.faults.takeover import measure_takeover
from tests.faults.trial import Log

pytestmark = MARKS


@pytest.mark.parametrize("names", WORKERS_STOPPED, ids="+".join)
def test_every_image_ends_as_one_result_and_nothing_is_left(names: tuple[str, ...], system: System, log: Log) -> None:
    injure(names, system, log)


def test_a_process_that_hangs_in_a_job_that_was_cancelled_is_replaced(system: System) -> None:
    with system.client("s3") as client, closing(system.server) as server:
        system.heal()  # a child that is still starting would come after the end of what hangs
        job = system.submit(client, 2 * CHUNK_IMAGES, Random(SEED), ["poison/hangs.jpg"])
        wait_until("the other chunk is done", lambda: client.status(job.id).chunks_done == 1, WAIT_S)
        client.cancel(job.id)
        wait_until(
            "every worker asks for a ticket", lambda: server.info("clients")["blocked_clients"] >= WORKERS, WAIT_S
        )
        client.delete(job.id)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["sigkill", "sigterm"])
def test_a_busy_workers_chunk_goes_to_an_idle_one(number: signal.Signals, system: System, log: Log) -> None:
    """How soon is logged, and `python -m tests.faults` measures it. A busy machine must not fail this test."""
    seconds, found = measure_takeover(system, number)
    log.write(event="takeover", signal=number.name, seconds=round(seconds, 2))
    assert found.is_clean, found
