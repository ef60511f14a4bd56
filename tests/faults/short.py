"""The short form, a part of every test run: each injury once.

The long form, `python -m tests.faults`, inflicts hundreds, several a job. Each test file starts a system, and the files
run side by side.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from random import Random
from typing import Final

import pytest

from tests.faults.injuries import INJURIES
from tests.faults.system import System
from tests.faults.trial import Log, injure_a_job

SEED: Final = 4
IMAGES: Final = 200
WAIT_S: Final = 150

# The injuries of one row are inflicted on the same job, as long as it runs.
WORKERS_KILLED: Final = [("kill_pool_child", "kill_main_process"), ("kill_worker", "sigterm"), ("kill_all_workers",)]
WORKERS_STOPPED: Final = [("sigstop_all_workers", "sigstop_one_worker")]
REDIS: Final = [
    ("redis_emptied", "redis_restarted"),
    ("redis_paused", "redis_connections_cut"),
    ("redis_full", "tickets_lost", "tickets_doubled", "tickets_left_unacked"),
    ("redis_readonly", "redis_misconf", "redis_busy", "redis_noreplicas"),
    ("redis_noperm", "redis_password_changed", "redis_unblocked"),
    ("redis_clock_an_hour_on", "redis_clock_an_hour_back"),
]
# Of the S3 faults one share each. The long form has the others, and 60 s without a pause.
STORAGE: Final = [
    ("s3_error_50%", "s3_slow_down_10%", "s3_timeout_1%", "s3_cut_50%"),
    ("disk_full",),
    ("worker_clock_an_hour_on", "worker_clock_an_hour_back"),
]
BAD_MACHINES: Final = [
    ("bad_machine_wrong_sources", "bad_machine_expired_token", "bad_machine_wrong_credentials"),
]
SHORT: Final = [*WORKERS_KILLED, *WORKERS_STOPPED, *REDIS, *STORAGE, *BAD_MACHINES]

MARKS: Final = [
    pytest.mark.timeout(900),  # several waits may come one after the other
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which takes root"),
    pytest.mark.skipif(not shutil.which("cc"), reason="clock.c is compiled, which takes a C compiler"),
    pytest.mark.skipif(not shutil.which("redis-server"), reason="Redis is killed and restarted: install redis-server"),
]


def injure(names: Sequence[str], system: System, log: Log) -> None:
    """Inflict these injuries on one job while it runs, and the rest on another job; audit each job."""
    random = Random(f"{SEED} {names}")
    left = [INJURIES[name] for name in names]
    while left:
        storage = random.choice(sorted(frozenset.intersection(*(injury.storages for injury in left))))
        trial = injure_a_job(system, left, storage=storage, images=IMAGES, random=random, log=log, brief=True)
        assert trial.audit.is_clean, trial.audit
        left = [injury for injury in left if injury not in trial.injuries]
