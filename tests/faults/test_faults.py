"""The short form: each injury once, on a job of its own, and what must be true of it.

The long form, `python -m tests.faults`, inflicts hundreds, several a job.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Final

import pytest

from fiqa.ledger.claims import ISOLATED_FROM_ATTEMPT
from fiqa.ledger.keys import RECONCILER_LOCK
from tests.faults.audit import audit
from tests.faults.injuries import INJURIES
from tests.faults.proxy import HELD
from tests.faults.system import CHUNK_IMAGES, WORKERS, System, start_system, wait_until
from tests.faults.takeover import measure_takeover
from tests.faults.trial import Log, injure_a_job

SEED: Final = 4
IMAGES: Final = 200
WAIT_S: Final = 150

# Those of one row hit the same job, as long as it runs. Of the S3 faults one share each: the long form has the others,
# and 60 s on end.
SHORT: Final = [
    ("kill_pool_child", "kill_main_process"),
    ("kill_worker", "sigterm"),
    ("kill_all_workers",),
    ("sigstop_all_workers", "sigstop_one_worker"),
    ("redis_emptied", "redis_restarted"),
    ("redis_paused", "redis_connections_cut"),
    ("redis_full", "tickets_lost", "tickets_doubled", "tickets_left_unacked"),
    ("s3_error_50%", "s3_slow_down_10%", "s3_timeout_1%", "s3_cut_50%"),
    ("disk_full",),
    ("redis_clock_an_hour_on", "redis_clock_an_hour_back"),
    ("worker_clock_an_hour_on", "worker_clock_an_hour_back"),
]

pytestmark = [
    pytest.mark.timeout(900),  # several waits may come one after the other
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which takes root"),
    pytest.mark.skipif(not shutil.which("cc"), reason="clock.c is compiled, which takes a C compiler"),
    pytest.mark.skipif(not shutil.which("redis-server"), reason="Redis is killed and restarted: install redis-server"),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with start_system(tmp_path_factory.mktemp("faults"), SEED) as system:
        yield system


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log(tmp_path_factory.getbasetemp() / "faults.jsonl", SEED)


@pytest.mark.parametrize("names", SHORT, ids="+".join)
def test_every_image_ends_as_one_result_and_nothing_is_left(names: tuple[str, ...], system: System, log: Log) -> None:
    random = Random(f"{SEED} {names}")
    left = [INJURIES[name] for name in names]
    while left:
        storage = random.choice(sorted(frozenset.intersection(*(injury.storages for injury in left))))
        trial = injure_a_job(system, left, storage=storage, images=IMAGES, random=random, log=log, brief=True)
        assert trial.audit.is_clean, trial.audit
        left = [injury for injury in left if injury not in trial.injuries]


def test_an_image_that_kills_costs_three_deliveries_and_one_that_hangs_its_time_limit(system: System) -> None:
    images = 40
    system.heal()
    with system.client("s3") as client:
        before = {worker.log_file: len(worker.log) for worker in system.workers}
        job = system.submit(client, images, Random(SEED), ["poison/kills.jpg", "poison/hangs.jpg"])
        found = audit(system, client, job.id, images, may_end_as=(), timeout_s=WAIT_S)
        logs = "".join(worker.log[before[worker.log_file] :] for worker in system.workers)
    assert found.is_clean, found
    assert (found.codes["worker_crashed"], found.codes["time_limit"]) == (1, 1)
    assert logs.count("exited with 'signal 9 (SIGKILL)'") == ISOLATED_FROM_ATTEMPT


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


def test_a_worker_that_finds_redis_empty_leaves_the_home_to_be_recovered_from(system: System) -> None:
    """It has stored a chunk and cannot count it: the job is gone from Redis, as if it had been deleted."""
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["sigkill", "sigterm"])
def test_a_busy_workers_chunk_goes_to_an_idle_one(number: signal.Signals, system: System, log: Log) -> None:
    """How soon is logged, and measured by `python -m tests.faults`; it is no test's matter how busy this machine is."""
    seconds, found = measure_takeover(system, number)
    log.write(event="takeover", signal=number.name, seconds=round(seconds, 2))
    assert found.is_clean, found
