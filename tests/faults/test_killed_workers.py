"""Workers that are killed, by the kernel or by an image."""

from __future__ import annotations

from random import Random

import pytest

from fiqa.ledger.claims import ISOLATED_FROM_ATTEMPT
from tests.faults.audit import audit
from tests.faults.short import MARKS, SEED, WAIT_S, WORKERS_KILLED, injure
from tests.faults.system import System
from tests.faults.trial import Log

pytestmark = MARKS


@pytest.mark.parametrize("names", WORKERS_KILLED, ids="+".join)
def test_every_image_ends_as_one_result_and_nothing_is_left(names: tuple[str, ...], system: System, log: Log) -> None:
    injure(names, system, log)


def test_an_image_that_kills_costs_four_attempts_and_one_that_hangs_costs_its_time_limit(system: System) -> None:
    images = 40
    system.heal()
    with system.client("s3") as client:
        before = {worker.log_file: len(worker.log) for worker in system.workers}
        job = system.submit(client, images, Random(SEED), ["poison/kills.jpg", "poison/hangs.jpg"])
        found = audit(system, client, job.id, images, may_end_as=(), timeout_s=WAIT_S)
        logs = "".join(worker.log[before[worker.log_file] :] for worker in system.workers)
    assert found.is_clean, found
    assert (found.codes["worker_crashed"], found.codes["time_limit"]) == (1, 1)
    assert logs.count("exited with 'signal 9 (SIGKILL)'") == ISOLATED_FROM_ATTEMPT + 1
