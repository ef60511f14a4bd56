"""How long it takes until another worker claims the chunk of a worker that ends."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from random import Random
from typing import Final

from tests.faults.audit import Audit, audit
from tests.faults.system import S3_DELAY_S, System, wait_until
from tests.keys import LEASES, job_key

_IMAGES: Final = 300
_SLOW_S: Final = 6.0  # for each request, 16 at once: the chunk takes longer than a worker takes to start
_WAIT_S: Final = 150.0


def measure_takeover(system: System, number: signal.Signals) -> tuple[float, Audit]:
    """Send a signal to the only busy worker while another worker is idle.

    Args:
        system: healed.
        number: SIGKILL, to all processes of the worker; or SIGTERM, to its main process.

    Returns:
        Seconds from the signal until another worker has claimed the chunk, and the audit of the job.
    """
    for worker in system.workers[1:]:
        worker.process.terminate()
        worker.process.wait(_WAIT_S)
    busy = system.workers[0]
    system.proxy.delay_s = _SLOW_S
    with system.client("s3") as client, closing(system.server) as server:
        job = system.submit(client, _IMAGES, Random(0), [], chunk_images=_IMAGES)
        wait_until("the chunk is claimed", lambda: server.zcard(LEASES), _WAIT_S)
        system.heal()
        holder = server.hget(job_key(job.id, "holders"), 0)
        started = time.monotonic()
        if number is signal.SIGKILL:
            busy.signal_all(number)
        else:
            busy.process.send_signal(number)
        wait_until(
            "another has the chunk", lambda: server.hget(job_key(job.id, "holders"), 0) not in {holder, None}, _WAIT_S
        )
        seconds = time.monotonic() - started
        system.proxy.delay_s = 0
        busy.process.wait(_WAIT_S)
        system.heal()
        found = audit(system, client, job.id, _IMAGES, may_end_as=(), timeout_s=_WAIT_S)
    system.proxy.delay_s = S3_DELAY_S
    return seconds, found
