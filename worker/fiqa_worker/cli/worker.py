"""`fiqa worker`: a Celery worker in the foreground."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import logging
import os
import signal
import warnings
from typing import Final

import click

from fiqa.ledger.connection import Connection
from fiqa.ledger.ledger import Ledger
from fiqa_worker.cli.extras import concurrency_option, needs
from fiqa_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)

# Settings of glibc for the pool's processes. Memory that one image frees is kept for the next image. If it went back to
# the kernel, the kernel would have to clear its pages again: a seventh of the time of an image of 12 megapixels. With
# only two arenas, not every thread keeps memory.
_MALLOC: Final = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


@click.command()
@concurrency_option
def worker(concurrency: int | None) -> int:
    """Run a worker in the foreground.

    The worker scores the jobs on FIQA_REDIS_URL until it is stopped. At SIGTERM or Ctrl-C it releases its chunks at
    once, and other workers take them.

    \b
    Examples:
      FIQA_ALLOWED_SOURCES=s3://images/ fiqa worker
      FIQA_DETECTOR=builtin_detector FIQA_QUALITY_MODEL=builtin_quality fiqa worker --concurrency 2
    """  # noqa: D301  click's \b keeps the lines below it as they are
    settings = WorkerSettings.load()
    # Errors are reported here, once. Otherwise every child process would report them again and again.
    with needs("cpu"):
        from fiqa_worker.service.model_check import checking_models

        with checking_models() as checked:
            from celery.exceptions import SecurityWarning

            from fiqa_worker.service.drain import SIGNALS
            from fiqa_worker.service.logs import configure
            from fiqa_worker.service.semaphores import check_semaphores
            from fiqa_worker.service.tasks import app

            configure(settings.log_format)

    # This comes after the check, so that a missing package is reported even if Redis is down.
    ledger = Ledger(Connection(settings.redis_url, settings.namespace))
    if checked.self_test.warning:
        _log.error("%s", checked.self_test.warning)
    ledger.connection.wait_until_ready(lambda error: _log.warning("waiting for Redis: %s", error))
    for problem in ledger.connection.check_server():
        _log.error("%s", problem)
    ledger.close()
    app.fiqa_identity, app.fiqa_self_test = checked.identity, checked.self_test
    for name, value in _MALLOC.items():
        os.environ.setdefault(name, value)
    check_semaphores()
    # Celery warns of pickle if the user is root, or a container's user without a name. These workers refuse pickle.
    warnings.simplefilter("ignore", SecurityWarning)
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
