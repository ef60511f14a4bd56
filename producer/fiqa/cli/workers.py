"""`fiqa workers`: the workers that run."""

from __future__ import annotations

import dataclasses
import json
import time

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fiqa.cli.messages import report_line
from fiqa.client import Client
from fiqa.ledger.workers import WorkerStatus
from fiqa.text import duration, local_time, shown


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each worker.")
def workers(*, as_json: bool) -> None:
    """List the workers that run, and their problems.

    Workers with the same fingerprint give the same scores. A worker that dies stays in the list for up to 15 s. The
    list shows the number of chunks that a worker holds, and the oldest of them; --json shows all.
    """
    with Client() as client:
        found = client.workers()
    if as_json:
        for worker in found:
            click.echo(json.dumps(dataclasses.asdict(worker)))
        return
    if not found:
        report_line("no worker runs: start `fiqa worker`")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("worker", "version", "detector", "quality model", "device", "processes", "sources"):
        table.add_column(column, no_wrap=True, justify="right" if column == "processes" else "left")
    for column in ("fingerprint", "self-test", "started", "heartbeat", "chunks", "problems"):
        table.add_column(column, no_wrap=True)
    now = time.time()
    for worker in found:
        table.add_row(*(Text(shown(cell)) for cell in _cells(worker, now)), Text("\n".join(_problems(worker))))
    # The console is as wide as the table. Otherwise rich would cut words at the terminal's width or, in a pipe, at 80
    # columns.
    Console(width=Console(width=10_000).measure(table).maximum).print(table)


def _cells(worker: WorkerStatus, now: float) -> list[str]:
    return [
        f"{worker.host}:{worker.pid}",
        worker.version,
        worker.detector,
        worker.quality_model,
        worker.device,
        str(worker.processes),
        ",".join(worker.allowed_sources),
        worker.fingerprint,
        f"{worker.self_test.verdict} {worker.self_test.quality:.4f}" if worker.self_test.verdict else "",
        local_time(worker.started),
        f"{duration(max(0.0, now - worker.heartbeat))} ago",
        _chunks(worker, now),
    ]


def _chunks(worker: WorkerStatus, now: float) -> str:
    """Return the number of chunks that a worker holds, and the one that it has held for longest."""
    if not worker.chunks:
        return "0"
    oldest = worker.chunks[0]
    held_for = duration(max(0.0, now - oldest.since))
    return f"{len(worker.chunks):,}: {oldest.job} chunk {oldest.chunk}, {held_for}"


def _problems(worker: WorkerStatus) -> list[str]:
    warning = [worker.self_test.warning] if worker.self_test.warning else []
    return [shown(line) for line in (*warning, *(f"{subject}: {line}" for subject, line in worker.problems.items()))]
