"""The competitors that need servers: `fiqa worker` and the naive worker, on a real Redis and a real S3."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from celery.result import AsyncResult, ResultSet

from fiqa import Client, Item
from fiqa.contract import JobState
from fiqa.ledger.status import JobStatus
from tests.bench import cores, naive
from tests.bench.loops import Slice

BUCKET: Final = "bench"
STORAGE: Final = f"s3://{BUCKET}/fiqa"
_STOP_S: Final = 30
_JOB_TIMEOUT_S: Final = 600
_POLL_S: Final = 0.05
_LOG_LINES_SHOWN: Final = 15


@dataclass(frozen=True, slots=True)
class SystemSlice:
    """One job, timed by the ledger.

    Attributes:
        idle: by core, the idle share of the time, 0 to 1.
        others_ms: processor time an image of everything else on this machine: Redis, S3, this program and others.
    """

    slice: Slice
    idle: dict[int, float]
    others_ms: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident MB of a worker's child. None if the system does not report it."""

    at_rest: float | None
    peak: float | None


@contextmanager
def process(command: Sequence[str], env: Mapping[str, str], log: Path, on: Sequence[int]) -> Iterator[int]:
    """Run a Python module on the given cores during the block. Yield its process id."""
    with log.open("wb") as file, cores.pinned(on):
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield started.pid
        if started.poll() is not None:
            raise RuntimeError(f"{command[0]} ended early:\n{_tail(log)}")
    finally:
        started.terminate()
        try:
            started.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


class System:
    """A warm `fiqa worker` with some processes and its own Redis database."""

    def __init__(self, redis_url: str, pid: int, log: Path) -> None:
        self._client = Client(redis_url, STORAGE)
        self._pid = pid
        self._log = log

    @classmethod
    @contextmanager
    def start(cls, redis_url: str, processes: int, log: Path, on: Sequence[int]) -> Iterator[Self]:
        """Start it on the cores `on`, for all its processes."""
        command = ["fiqa", "worker", "--concurrency", str(processes)]
        with process(command, {"FIQA_REDIS_URL": redis_url, "FIQA_STORAGE": STORAGE}, log, on) as pid:
            system = cls(redis_url, pid, log)
            with closing(system._client):
                yield system

    def job(self, uris: Sequence[str], *, chunk_size: int | None) -> SystemSlice:
        """Score these images, which must all decode.

        Raises:
            RuntimeError: the job did not succeed, or an image failed.
        """
        job = self._client.submit([Item(uri=uri) for uri in uris], name="bench", chunk_size=chunk_size)
        self._wait_for(job.id, started=True)
        processes, before = cores.descendants(self._pid), cores.times()
        worker_s = cores.processor_s(processes)
        status = self._wait_for(job.id)
        after = cores.times()
        worker_s = cores.processor_s(processes) - worker_s
        if status.state is not JobState.SUCCEEDED or status.failed or status.started is None or status.finished is None:
            raise RuntimeError(f"the job {status.state}, {status.failed_by_code}: {status.reason}\n{_tail(self._log)}")
        return SystemSlice(
            Slice(status.images, status.faces, status.finished - status.started, worker_s),
            cores.idle(before, after),
            1000 * max(0.0, cores.busy_s(before, after) - worker_s) / status.images,
        )

    def child(self) -> int:
        """Return the process that scores: of several, the one with the most memory."""
        return max(cores.descendants(self._pid), key=lambda pid: cores.memory_mb(pid, "VmRSS") or 0)

    def _wait_for(self, job_id: str, *, started: bool = False) -> JobStatus:
        """Return the status of a job when it has finished, or started."""
        deadline = time.monotonic() + _JOB_TIMEOUT_S
        while True:
            status = self._client.status(job_id)
            if status.is_finished or (started and status.started):
                return status
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {job_id} is {status.state} after {_JOB_TIMEOUT_S} s\n{_tail(self._log)}")
            time.sleep(_POLL_S)


def first_result_s(redis_url: str, uri: str, log: Path, on: Sequence[int]) -> float:
    """Return the seconds from the start of a worker until the result of a waiting image is stored and counted."""
    with closing(Client(redis_url, STORAGE)) as client:
        job = client.submit([uri])
        begun = time.time()
        environment = {"FIQA_REDIS_URL": redis_url, "FIQA_STORAGE": STORAGE}
        with process(["fiqa", "worker", "--concurrency", "1"], environment, log, on):
            status = client.wait(job.id, _JOB_TIMEOUT_S)
    if status.finished is None or status.failed:
        raise RuntimeError(f"no first result: {status.failed_by_code}\n{_tail(log)}")
    return status.finished - begun


class Naive:
    """The naive worker, one process."""

    def __init__(self, redis_url: str, pid: int) -> None:
        self._app = naive.make_app(redis_url)
        self._pid = pid

    @classmethod
    @contextmanager
    def start(cls, redis_url: str, log: Path, on: Sequence[int]) -> Iterator[Self]:
        command = ["celery", "-A", "tests.bench.naive", "worker", "--concurrency", "1", "--loglevel", "WARNING"]
        with process(command, {"BENCH_REDIS_URL": redis_url}, log, on) as pid:
            yield cls(redis_url, pid)

    def turn(self, keys: Sequence[str]) -> Slice:
        """Send one task an image. The time runs from the start of the first task to the end of the last."""
        processes = cores.descendants(self._pid)
        processor_s = cores.processor_s(processes)
        sent: list[AsyncResult[Any]] = [self._app.send_task(naive.TASK, (BUCKET, key)) for key in keys]
        answers = ResultSet(sent, app=self._app).get(timeout=_JOB_TIMEOUT_S)
        processor_s = cores.processor_s(processes) - processor_s
        seconds = max(answer["finished"] for answer in answers) - min(answer["started"] for answer in answers)
        return Slice(len(answers), sum(len(answer["scores"]) for answer in answers), seconds, processor_s)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
