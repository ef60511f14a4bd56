"""`fiqa worker`: a Celery worker in the foreground."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import logging
import os
import signal
import warnings
from typing import Final

import click

from fiqa.errors import UsageError
from fiqa.ledger.ledger import Ledger
from fiqa_worker.cli.extras import concurrency_option, needs
from fiqa_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)

# For glibc in the pool's processes: memory that is freed after an image is kept for the next image. The kernel would
# clear returned memory page by page again, which takes a seventh of the time of an image of 12 megapixels. There are
# two arenas only, so that few threads keep memory of their own.
_MALLOC: Final = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


@click.command()
@concurrency_option
def worker(concurrency: int | None) -> int:
    """Run a worker in the foreground.

    It scores the jobs on FIQA_REDIS_URL until it is stopped. SIGTERM and Ctrl-C drain it: its chunks are released at
    once, for other workers.

    \b
    Examples:
      FIQA_ALLOWED_SOURCES=s3://photos/ fiqa worker
      FIQA_DETECTOR=builtin_detector FIQA_QUALITY_MODEL=builtin_quality fiqa worker --concurrency 2
    """  # noqa: D301  click's \b keeps the lines below it as they are
    settings = WorkerSettings.load()
    # Errors are reported here, once. Otherwise every child process would report them again and again.
    with needs("cpu"):
        from fiqa_worker.service.model_check import checking_models

        with checking_models() as checked:
            from billiard.context import ForkContext
            from celery.exceptions import SecurityWarning

            from fiqa_worker.service.drain import SIGNALS
            from fiqa_worker.service.logs import configure
            from fiqa_worker.service.tasks import app

            configure(settings.log_format)

    # After the check, so that a missing package is reported even while Redis is down.
    ledger = Ledger(settings.redis_url)
    if checked.self_test.warning:
        _log.error("%s", checked.self_test.warning)
    ledger.connection.wait_until_ready(lambda error: _log.warning("waiting for Redis: %s", error))
    for problem in ledger.connection.check_server():
        _log.error("%s", problem)
    ledger.close()
    app.fiqa_identity, app.fiqa_self_test = checked.identity, checked.self_test
    for name, value in _MALLOC.items():
        os.environ.setdefault(name, value)
    try:
        ForkContext().Lock()  # as the pool makes them: its error would be a traceback
    except OSError as error:
        raise UsageError(
            f"the pool of processes needs semaphores, and /dev/shm takes none: {error.strerror}: let this user write"
            " to /dev/shm (in a container with a read-only root: --tmpfs /dev/shm)"
        ) from error
    # Celery warns root about pickle, which these workers refuse, and names an option that `fiqa` does not have.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges", SecurityWarning)
    running = app.Worker(
        concurrency=concurrency or "auto",
        pool_cls="prefork",
        loglevel="WARNING",  # for children, before their logging is set up
        without_gossip=True,
        without_mingle=True,
        # Nothing reads Celery's events, and publishing one blocks the event loop while Redis is unavailable.
        without_heartbeat=True,
        quiet=True,
    )
    running.start()
    for number in SIGNALS:  # a signal that arrives while the interpreter ends must not change the exit status
        signal.signal(number, signal.SIG_IGN)
    return int(running.exitcode or 0)
