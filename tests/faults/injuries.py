"""The injuries, by name. Each returns what it did, for the log. System.heal repairs what does not heal by itself."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias
from uuid import uuid4

from fiqa import Client, ErrorCode, JobStateError
from fiqa.ledger.limits import LEASE_S
from tests.dead_folder import dead, has_fuse
from tests.faults.proxy import S3Fault
from tests.faults.system import STUCK, System, Worker, wait_until
from tests.keys import QUEUE, UNACKED, UNACKED_INDEX
from tests.redis_refusals import REFUSALS
from tests.refusing_s3 import refusing_s3

Details: TypeAlias = dict[str, Any]

_LONGER_THAN_A_LEASE_S: Final = LEASE_S + 2
_HOUR_S: Final = 3600
_PATIENCE_S: Final = 90.0
_NOT_REDIS: Final = frozenset({"s3", "folder"})
_ANY_STORAGE: Final = frozenset({"redis", "s3", "folder"})
_FETCH_CODES: Final = frozenset({ErrorCode.FETCH_FAILED, ErrorCode.FETCH_TIMEOUT})


@dataclass(frozen=True)
class Scene:
    """Where an injury happens.

    Attributes:
        brief: whether an injury that may take a minute takes seconds instead.
    """

    system: System
    client: Client
    job_id: str
    random: Random
    brief: bool

    @property
    def worker(self) -> Worker:
        return self.random.choice([worker for worker in self.system.workers if worker.is_running])


@dataclass(frozen=True)
class Injury:
    """One way to break the system.

    Attributes:
        storages: the storages that a job may have for this injury.
        may_end_as: error codes that images may end with because of it.
        kills: whether it kills a process that scores images.
        poison: key of an object that is added to the job, or STUCK. It is the injury, and `inflict` does nothing.
    """

    name: str
    inflict: Callable[[Scene], Details]
    storages: frozenset[str] = _ANY_STORAGE
    may_end_as: Collection[ErrorCode] = frozenset()
    kills: bool = False
    poison: str = ""


def _kill_child(scene: Scene) -> Details:
    worker = scene.worker
    found: list[list[int]] = [[]]

    def has_pool() -> list[int]:
        found[0] = worker.pool()
        return found[0]

    wait_until("the worker has a pool", has_pool, _PATIENCE_S)
    pid = scene.random.choice(found[0])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return {"pid": pid}


def _kill_main(scene: Scene) -> Details:
    worker = scene.worker
    orphans = worker.pool()
    worker.process.kill()
    worker.process.wait()
    scene.system.orphans += orphans
    return {"pid": worker.process.pid, "orphans": orphans}


def _kill_worker(scene: Scene) -> Details:
    """As if its machine were lost."""
    worker = scene.worker
    worker.signal_all(signal.SIGKILL)
    worker.process.wait()
    return {"pid": worker.process.pid}


def _kill_all(scene: Scene) -> Details:
    for worker in scene.system.workers:
        worker.signal_all(signal.SIGKILL)
        worker.process.wait()
    return {"workers": len(scene.system.workers)}


def _terminate(scene: Scene) -> Details:
    worker = scene.worker
    started = time.monotonic()
    worker.process.terminate()
    status = worker.process.wait(_PATIENCE_S)
    if status:
        raise RuntimeError(f"SIGTERM: exit status {status}: {worker.log_file}")
    return {"pid": worker.process.pid, "seconds": round(time.monotonic() - started, 2)}


def _stop(scene: Scene) -> Details:
    worker = scene.worker
    worker.signal_all(signal.SIGSTOP)
    time.sleep(_LONGER_THAN_A_LEASE_S)
    worker.signal_all(signal.SIGCONT)
    return {"pid": worker.process.pid, "seconds": _LONGER_THAN_A_LEASE_S}


def _stop_all(scene: Scene) -> Details:
    for worker in scene.system.workers:
        worker.signal_all(signal.SIGSTOP)
    time.sleep(_LONGER_THAN_A_LEASE_S)
    for worker in scene.system.workers:
        worker.signal_all(signal.SIGCONT)
    return {"seconds": _LONGER_THAN_A_LEASE_S}


def _restart_redis(scene: Scene) -> Details:
    down_s = scene.random.uniform(0, 2 if scene.brief else 8)
    scene.system.redis.kill()
    time.sleep(down_s)
    scene.system.redis.start()
    return {"down_s": round(down_s, 2)}


def _empty_redis(scene: Scene) -> Details:
    down_s = scene.random.uniform(0, 2 if scene.brief else 8)
    scene.system.redis.kill()
    scene.system.redis.empty()
    time.sleep(down_s)
    scene.system.redis.start()
    status = scene.client.recover(scene.job_id)
    return {"down_s": round(down_s, 2), "found_done": status.images_done}


def _pause_redis(scene: Scene) -> Details:
    """For longer than the timeout of a socket."""
    with closing(scene.system.server) as server:
        server.client_pause(int(_LONGER_THAN_A_LEASE_S * 1000))
    time.sleep(_LONGER_THAN_A_LEASE_S)
    return {"seconds": _LONGER_THAN_A_LEASE_S}


def _cut_connections(scene: Scene) -> Details:
    cuts = scene.random.randint(1, 5)
    killed = 0
    with closing(scene.system.server) as server:
        for _ in range(cuts):
            killed += server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(scene.random.uniform(0, 0.3))
    return {"cuts": cuts, "connections": killed}


def _fill_redis(scene: Scene) -> Details:
    seconds = 4.0 if scene.brief else scene.random.uniform(2, 15)
    with closing(scene.system.server) as server:
        server.config_set("maxmemory", "1mb")
        time.sleep(seconds)
        server.config_set("maxmemory", "0")
    return {"seconds": round(seconds, 1)}


def _refuse(name: str) -> Callable[[Scene], Details]:
    def inflict(scene: Scene) -> Details:
        seconds = 4.0 if scene.brief else scene.random.uniform(2, 15)
        with REFUSALS[name](scene.system.redis.url):
            time.sleep(seconds)
        return {"refusal": name, "seconds": round(seconds, 1)}

    return inflict


def _break_s3(fault: S3Fault, share: float, seconds: float) -> Callable[[Scene], Details]:
    def inflict(scene: Scene) -> Details:
        proxy = scene.system.proxy
        before = proxy.broken
        proxy.break_requests(fault, share)
        lasted = min(seconds, 5.0) if scene.brief else seconds
        time.sleep(lasted)
        proxy.heal()
        return {"seconds": lasted, "broken_requests": proxy.broken - before}

    return inflict


def _fill_disk(scene: Scene) -> Details:
    seconds = 3.0 if scene.brief else scene.random.uniform(1, 15)
    filler = scene.system.disk / "filler"
    try:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        time.sleep(seconds)
    finally:
        filler.unlink()
    return {"seconds": round(seconds, 1)}


def _hang_storage(scene: Scene) -> Details:
    seconds = 4.0 if scene.brief else scene.random.uniform(2, 90)
    with dead(Path(scene.system.storages["folder"])):
        time.sleep(seconds)
    return {"seconds": round(seconds, 1)}


def _lose_tickets(scene: Scene) -> Details:
    with closing(scene.system.server) as server:
        lost = server.llen(QUEUE)
        server.delete(QUEUE)
    return {"tickets": lost}


def _double_tickets(scene: Scene) -> Details:
    with closing(scene.system.server) as server:
        tickets = server.lrange(QUEUE, 0, -1)
        if tickets:
            server.lpush(QUEUE, *tickets)
    return {"tickets": len(tickets)}


def _hold_tickets(scene: Scene) -> Details:
    """As if a worker had taken them and died."""
    held = 0
    with closing(scene.system.server) as server:
        while ticket := server.rpop(QUEUE):
            tag = str(uuid4())
            with server.pipeline() as both:  # as kombu does it
                both.hset(UNACKED, tag, json.dumps([json.loads(ticket), "", QUEUE]))
                both.zadd(UNACKED_INDEX, {tag: time.time()})
                both.execute()
            held += 1
    return {"tickets": held}


def _shift_redis(seconds: int) -> Callable[[Scene], Details]:
    def inflict(scene: Scene) -> Details:
        """Jump, and then jump back: the second jump has the opposite direction."""
        scene.system.redis.clock.shift(seconds)
        time.sleep(3)
        scene.system.redis.clock.shift(0)
        return {"jump_s": seconds}

    return inflict


def _shift_worker(seconds: int) -> Callable[[Scene], Details]:
    def inflict(scene: Scene) -> Details:
        worker = scene.worker
        worker.clock.shift(seconds)
        time.sleep(4 if scene.brief else _LONGER_THAN_A_LEASE_S)
        worker.clock.shift(0)
        return {"pid": worker.process.pid, "jump_s": seconds}

    return inflict


def _bad_machine(environment: Mapping[str, str], refusal: tuple[int, str] | None = None) -> Callable[[Scene], Details]:
    def inflict(scene: Scene) -> Details:
        """Add a worker that fails every image, much faster than the others score theirs."""
        seconds = 5.0 if scene.brief else 15.0
        with ExitStack() as stack:
            settings = dict(environment)
            if refusal:
                settings["AWS_ENDPOINT_URL"] = stack.enter_context(refusing_s3(*refusal))
            with suppress(JobStateError):  # it is finished
                scene.client.pause(scene.job_id)  # a worker takes as long to start as the job to run
            worker = stack.enter_context(scene.system.bad_machine(settings))
            with suppress(JobStateError):
                scene.client.resume(scene.job_id)
            time.sleep(seconds)
        return {"seconds": seconds, "released": worker.log.count("chunk released")}

    return inflict


def _nothing(_: Scene) -> Details:
    return {}


_S3: Final = [
    Injury(
        f"s3_{fault}_{share:.0%}",
        _break_s3(fault, share, 15.0),
        may_end_as=_FETCH_CODES | {ErrorCode.TIME_LIMIT},
    )
    for fault in S3Fault
    for share in (0.01, 0.1, 0.5)
] + [
    Injury(f"s3_{fault}_60s", _break_s3(fault, 1.0, 60.0), may_end_as=_FETCH_CODES | {ErrorCode.TIME_LIMIT})
    for fault in S3Fault
]

_DEAD: Final = (
    [
        Injury("storage_hangs", _hang_storage, storages=frozenset({"folder"})),
        Injury("poison_is_never_read", _nothing, poison=STUCK),
    ]
    if has_fuse()
    else []
)

INJURIES: Final = {
    injury.name: injury
    for injury in [
        Injury("kill_pool_child", _kill_child, kills=True),
        Injury("kill_main_process", _kill_main, kills=True),
        Injury("kill_worker", _kill_worker, kills=True),
        Injury("kill_all_workers", _kill_all, kills=True),
        Injury("sigterm", _terminate),
        Injury("sigstop_one_worker", _stop),
        Injury("sigstop_all_workers", _stop_all),
        Injury("redis_restarted", _restart_redis),
        Injury("redis_emptied", _empty_redis, storages=_NOT_REDIS),
        Injury("redis_paused", _pause_redis),
        Injury("redis_connections_cut", _cut_connections),
        Injury("redis_full", _fill_redis),
        Injury("redis_readonly", _refuse("READONLY")),
        Injury("redis_masterdown", _refuse("MASTERDOWN")),
        Injury("redis_noreplicas", _refuse("NOREPLICAS")),
        Injury("redis_misconf", _refuse("MISCONF")),
        Injury("redis_busy", _refuse("BUSY")),
        Injury("redis_unblocked", _refuse("UNBLOCKED")),
        Injury("redis_noperm", _refuse("NOPERM")),
        Injury("redis_password_changed", _refuse("WRONGPASS")),
        Injury("redis_max_clients", _refuse("max clients")),
        *_S3,
        Injury("disk_full", _fill_disk, storages=frozenset({"folder"})),
        Injury("tickets_lost", _lose_tickets),
        Injury("tickets_doubled", _double_tickets),
        Injury("tickets_left_unacked", _hold_tickets),
        Injury("redis_clock_an_hour_on", _shift_redis(_HOUR_S)),
        Injury("redis_clock_an_hour_back", _shift_redis(-_HOUR_S)),
        # S3 refuses what is signed by a clock that is wrong.
        Injury("worker_clock_an_hour_on", _shift_worker(_HOUR_S), may_end_as=_FETCH_CODES),
        Injury("worker_clock_an_hour_back", _shift_worker(-_HOUR_S), may_end_as=_FETCH_CODES),
        Injury("bad_machine_wrong_sources", _bad_machine({"FIQA_ALLOWED_SOURCES": "s3://other/"})),
        Injury("bad_machine_expired_token", _bad_machine({}, (400, "ExpiredToken"))),
        Injury("bad_machine_wrong_credentials", _bad_machine({}, (403, "InvalidAccessKeyId"))),
        Injury("poison_kills", _nothing, kills=True, poison="poison/kills.jpg"),
        Injury("poison_hangs", _nothing, poison="poison/hangs.jpg"),
        *_DEAD,
    ]
}
