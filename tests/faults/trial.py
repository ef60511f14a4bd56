"""One job that is injured while it runs, and then audited."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from fiqa import Client, ErrorCode
from tests.faults.audit import Audit, audit
from tests.faults.injuries import Injury, Scene
from tests.faults.system import System

# The time that an injury can cost: a lease, a delay of 10 s, and the start of a worker, on a busy machine.
_FINISH_S: Final = 150.0
# If two attempts of a chunk are killed from outside, the chunk is isolated. If two more kills then meet the same image,
# it ends as worker_crashed.
_KILLS_THAT_BLAME: Final = 4


@dataclass(frozen=True)
class Trial:
    """The outcome of one job.

    Attributes:
        injuries: those that were inflicted while the job ran. The others are left for another job.
    """

    injuries: tuple[Injury, ...]
    audit: Audit


class Log:
    """Writes one JSON line for each event."""

    def __init__(self, file: Path, seed: int) -> None:
        self._file = file
        self._seed = seed

    def write(self, **event: Any) -> None:
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "seed": self._seed, **event})
        with self._file.open("a") as file:
            file.write(line + "\n")


def injure_a_job(
    system: System,
    injuries: Sequence[Injury],
    *,
    storage: str,
    images: int,
    random: Random,
    log: Log,
    brief: bool,
    on_injury: Callable[[Injury], None] | None = None,
) -> Trial:
    """Submit a job, inflict each injury when a random share of the remaining images is done, and audit the job."""
    with system.client(storage) as client:
        job = system.submit(client, images, random, [injury.poison for injury in injuries if injury.poison])
        done: list[Injury] = []
        for number, injury in enumerate(injuries):
            if not injury.poison and not _wait_for_moment(client, job.id, random, left=len(injuries) - number):
                continue
            at = client.status(job.id).images_done
            details = injury.inflict(Scene(system, client, job.id, random, brief))
            log.write(event="injury", injury=injury.name, job=job.id, storage=storage, images_done=at, **details)
            done.append(injury)
            if on_injury:
                on_injury(injury)
            system.heal()
        found = audit(system, client, job.id, images, may_end_as=_explained(done), timeout_s=_FINISH_S)
        log.write(event="audit", job=job.id, clean=found.is_clean, **vars(found))
        if any(injury.name == "redis_emptied" for injury in done):
            system.note_rest()
        return Trial(tuple(done), found)


def _wait_for_moment(client: Client, job_id: str, random: Random, *, left: int) -> bool:
    """Wait for a random moment. Return whether the job still runs then."""
    status = client.status(job_id)
    wanted = status.images_done + (status.images - status.images_done) * random.uniform(0, 1.2 / (left + 1))
    deadline = time.monotonic() + _FINISH_S
    while status.images_done < wanted and not status.is_finished and time.monotonic() < deadline:
        time.sleep(0.02)
        status = client.status(job_id)
    return not status.is_finished


def _explained(injuries: Sequence[Injury]) -> set[ErrorCode]:
    codes = {code for injury in injuries for code in injury.may_end_as}
    # Poison alone takes two of the attempts.
    if sum(2 if injury.poison else 1 for injury in injuries if injury.kills) >= _KILLS_THAT_BLAME:
        codes.add(ErrorCode.WORKER_CRASHED)
    return codes
