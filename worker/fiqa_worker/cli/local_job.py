"""What `fiqa run` and `fiqa demo` share: one job on the embedded system, with its progress and its results."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import IO

from fiqa.cli.failures import report_too_many
from fiqa.cli.messages import BadLines, report_line
from fiqa.cli.output import Destination, write_results
from fiqa.cli.progress import CountProgress, JobProgress
from fiqa.contract import NO_OPTIONS, Item, JobOptions
from fiqa.ledger.status import JobStatus
from fiqa_worker.cli.annotated import AnnotatedFolder
from fiqa_worker.cli.extras import needs
from fiqa_worker.settings import WorkerSettings


def score_locally(
    items: Iterable[Item],
    destination: Destination,
    *,
    settings: WorkerSettings,
    processes: int | None,
    bad_lines: BadLines,
    options: JobOptions = NO_OPTIONS,
    file: IO[bytes] | None = None,
    name: str | None = None,
    annotate: AnnotatedFolder | None = None,
    images_before: int = 0,
    failed_before: int = 0,
) -> JobStatus:
    """Score images with an embedded server and a worker. Write the results as they come.

    Args:
        items: the images.
        destination: where the results go.
        settings: the settings of the worker.
        processes: the number of the worker's processes. None: the number of processors, or the container's share of
            them.
        bad_lines: the bad lines of the source. Those that are not reported yet are reported when the source is read.
        options: the options of the job.
        file: the results file, if it is open already.
        name: the job's display name.
        annotate: gets an annotated copy of each image, once all are scored.
        images_before: images of earlier runs that are in the results file.
        failed_before: how many of those failed.

    Returns:
        The job's status at its end.
    """
    with needs("local"):
        from fiqa_worker.local.environment import environment_of
        from fiqa_worker.local.system import local_system

    with local_system(processes=processes, environment=environment_of(settings)) as system:
        # No progress bar if the results go to the same terminal: they would mix.
        with JobProgress(live=destination.path is not None or not sys.stdout.isatty()) as progress:

            def show(status: JobStatus) -> None:
                system.check()
                # The worker has been started, but it may not have sent a heartbeat yet.
                progress.show(replace(status, workers_run=True))

            try:
                job = system.client.submit(items, name=name, **dict(options))
            finally:
                bad_lines.report_rest()
            shards = system.client.result_shards(job.id, follow=True, on_status=show)
            write_results(destination, shards, file=file, measures=options.measures)
        if annotate:
            with CountProgress("images annotated") as counted:
                annotate.write(system.client.results(job.id), show=counted.show)
            annotate.report()
        status = system.client.status(job.id)
        for worker in system.client.workers():
            if worker.self_test.warning:
                report_line(f"fiqa: {worker.self_test.warning}")
        report_too_many(system.client, status, limit="", images=images_before, failed=failed_before)
        return status
