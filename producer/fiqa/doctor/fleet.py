"""The workers and the jobs of this Redis: whether workers run and fit together, and the problems of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from typing import Final

from fiqa.contract import DEFAULT_NAMESPACE, JobState
from fiqa.doctor.findings import Finding, State
from fiqa.doctor.redis import quick_connection
from fiqa.errors import RedisUnavailableError
from fiqa.ledger.ledger import Ledger
from fiqa.ledger.workers import WorkerStatus
from fiqa.text import count

_NEWEST: Final = 100
# The first problems are enough: `fiqa workers` and `fiqa jobs` list all.
_SHOWN: Final = 5
# The values of one model on two processors differ by less, see the self-test.
_SCORES_MAY_DIFFER: Final = 1e-3


def check_workers(redis_url: str, namespace: str = DEFAULT_NAMESPACE) -> Iterator[Finding]:
    """Look at the workers that run.

    Raises:
        SettingsError: `redis_url` is not a Redis URL.
    """
    try:
        with closing(quick_connection(redis_url, namespace)) as connection:
            workers = Ledger(connection).workers.all()
    except RedisUnavailableError:
        yield Finding("workers", State.SKIPPED, "not checked: Redis does not answer, or refuses")
        return
    if not workers:
        yield Finding("workers", State.WARNING, "no worker runs on this Redis: start `fiqa worker`")
        return
    problems = [*_differences(workers), *_problems(workers)]
    yield from _first("workers", problems, "fiqa workers")
    if not problems:
        processes = count(sum(worker.processes for worker in workers), "process", "processes")
        text = f"{count(len(workers), 'worker')} with {processes}, all with the fingerprint {workers[0].fingerprint}"
        yield Finding("workers", State.OK, text)


def check_jobs(redis_url: str, namespace: str = DEFAULT_NAMESPACE) -> Iterator[Finding]:
    """Look at the newest jobs.

    Raises:
        SettingsError: `redis_url` is not a Redis URL.
    """
    try:
        with closing(quick_connection(redis_url, namespace)) as connection:
            jobs = Ledger(connection).jobs(limit=_NEWEST)
    except RedisUnavailableError:
        yield Finding("jobs", State.SKIPPED, "not checked: Redis does not answer, or refuses")
        return
    running = [job for job in jobs if job.state is JobState.RUNNING]
    problems = []
    for job in running:
        if job.workers_unfit:
            workers = count(job.workers_unfit, "worker runs", "workers run")
            problems.append(
                f"{job.id} waits: {workers} with other models, settings or version: start a worker that fits"
            )
        if job.last_error:
            problems.append(f"{job.id}: {job.last_error}")
    yield from _first("jobs", problems, "fiqa jobs")
    if not problems:
        yield Finding("jobs", State.OK, f"{count(len(running), 'job')} running, without an error")


def _first(check: str, problems: Sequence[str], command: str) -> Iterator[Finding]:
    yield from (Finding(check, State.WARNING, problem) for problem in problems[:_SHOWN])
    if len(problems) > _SHOWN:
        rest = count(len(problems) - _SHOWN, "more problem")
        yield Finding(check, State.WARNING, f"{rest}: see `{command}`")


def _differences(workers: Sequence[WorkerStatus]) -> Iterator[str]:
    fingerprints = Counter(worker.fingerprint for worker in workers)
    if len(fingerprints) > 1:
        kinds = ", ".join(f"{number} of {fingerprint or 'none'}" for fingerprint, number in fingerprints.most_common())
        yield (
            f"workers have different fingerprints ({kinds}), so each job waits for those of one kind: give all workers"
            " the same models, settings and version"
        )
    for found, number in Counter(worker.version for worker in workers).items():
        if found != version("fiqa"):
            yield f"{count(number, 'worker')} of version {found}, this is {version('fiqa')}: install the same version"
    for fingerprint in fingerprints:
        tested = [worker for worker in workers if worker.fingerprint == fingerprint and worker.self_test.verdict]
        low, high = (pick(tested, key=lambda worker: worker.self_test.quality, default=None) for pick in (min, max))
        if low and high and high.self_test.quality - low.self_test.quality > _SCORES_MAY_DIFFER:
            yield (
                f"the same model scores the test image differently: {low.self_test.quality:.4f} on {low.host},"
                f" {high.self_test.quality:.4f} on {high.host}: stop the workers of the machine that is wrong"
            )


def _problems(workers: Sequence[WorkerStatus]) -> Iterator[str]:
    for worker in workers:
        if worker.self_test.warning:
            yield f"{worker.host}:{worker.pid}: {worker.self_test.warning}"
        for subject, problem in worker.problems.items():
            yield f"{worker.host}:{worker.pid}: {subject}: {problem}"
