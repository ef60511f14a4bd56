"""A Redis that is down, empty, full or slow, or whose clock is wrong."""

from __future__ import annotations

import time
from contextlib import closing
from random import Random

import pytest

from tests.faults.audit import audit
from tests.faults.proxy import HELD
from tests.faults.short import MARKS, REDIS, SEED, WAIT_S, injure
from tests.faults.system import System, wait_until
from tests.faults.trial import Log
from tests.keys import RECONCILER_LOCK

pytestmark = MARKS


@pytest.mark.parametrize("names", REDIS, ids="+".join)
def test_every_image_ends_as_one_result_and_nothing_is_left(names: tuple[str, ...], system: System, log: Log) -> None:
    injure(names, system, log)


def test_a_worker_that_finds_redis_empty_leaves_the_storage_to_be_recovered_from(system: System) -> None:
    """The worker stored a chunk and cannot count it: Redis has lost the job, as if it had been deleted."""
    with system.client("s3") as client, closing(system.server) as server:
        system.heal()
        before = system.proxy.broken
        system.proxy.break_requests(HELD, 1.0, b"PUT ")  # of the workers: the client here goes past the proxy
        job = system.submit(client, 100, Random(SEED), [])
        wait_until("results are being stored", lambda: system.proxy.broken > before, WAIT_S)
        server.flushall()
        system.proxy.heal()
        wait_until("they are stored", lambda: server.exists(RECONCILER_LOCK), WAIT_S)
        time.sleep(1)
        client.recover(job.id)
        found = audit(system, client, job.id, 100, may_end_as=(), timeout_s=WAIT_S)
    assert found.is_clean, found
