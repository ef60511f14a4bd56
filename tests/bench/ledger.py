"""What a chunk costs Redis: its claim, three renewals, its completion and the tickets, with many jobs and many leases.

`python -m tests.bench ledger [--finished N]`. The microseconds are Redis's own (INFO commandstats), without network and
clients: a second has a million of them for all workers. The last rows are of Redis's memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fiqa.contract import JobSpec
from fiqa.ledger.claims import Claim, Counts
from fiqa.ledger.ledger import Ledger
from tests.keys import JOBS, LEASES, job_key
from tests.servers import start_redis

_JOBS: Final = (1, 100, 10_000)
_LEASES: Final = (1000, 5000)
_RENEWALS: Final = 3
_CHUNKS: Final = 300  # measured in one round
_ROUNDS: Final = 5
_COUNTS: Final = Counts(200, 50, 220, {}, {"yunet_2023mar/ediffiqa_tiny_jun2024": 256})
_NUMBERS: Final = count()
_MIB: Final = 1024 * 1024


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench ledger", description=__doc__)
    parser.add_argument("--finished", type=int, default=100_000, help="number of finished jobs; 0: none")
    options = parser.parse_args()
    table = Table("what", "measured", title="the ledger in Redis")
    with (
        tempfile.TemporaryDirectory() as folder,
        start_redis(Path(folder)) as server,
        closing(Ledger(server.url)) as ledger,
    ):
        for jobs in _JOBS:
            for leases in _LEASES:
                cost = _chunk_us(ledger, jobs, leases)
                table.add_row(f"a chunk with {jobs:,} jobs and {leases:,} leases", f"{cost:.0f} us of Redis")
        if options.finished:
            _measure_finished(table, ledger, options.finished)
    Console().print(table)


def _job_id() -> str:
    """Return another id each time: of thousands a second, two random ones would be equal."""
    return f"20260101-000000-{next(_NUMBERS):06x}"


def _open(ledger: Ledger, chunks: int, *, storage: str = "s3://bucket/prefix", keep_s: float = 3600) -> str:
    spec = JobSpec(id=_job_id(), created=ledger.connection.now(), keep_s=keep_s)
    submission = ledger.create(spec, storage=storage)
    ledger.open(spec.id, submission, chunks=chunks, images=256 * chunks)
    return spec.id


def _chunk_us(ledger: Ledger, jobs: int, leases: int) -> float:
    """Return the microseconds of one chunk: the median of a few rounds."""
    server: Any = ledger.connection.redis
    server.flushall()
    wanted = leases + (_ROUNDS + 1) * _CHUNKS
    for _ in range(jobs):
        _open(ledger, max(3, wanted // jobs + 1))
    held = [_claim(ledger) for _ in range(leases)]
    soon = ledger.connection.now() + 250  # later than the measurement ends
    server.zadd(LEASES, dict.fromkeys(server.zrange(LEASES, 0, -1), soon))
    return median(_round(ledger, server) for _ in range(_ROUNDS)) if held else 0.0


def _claim(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


def _round(ledger: Ledger, server: Any) -> float:
    server.config_resetstat()
    for _ in range(_CHUNKS):
        claim = _claim(ledger)
        for _ in range(_RENEWALS):
            ledger.renew(claim)
        ledger.complete(claim.job_id, claim.chunk, _COUNTS)
        ledger.missing_tickets()
    return float(server.info("commandstats")["cmdstat_evalsha"]["usec"]) / _CHUNKS


def _measure_finished(table: Table, ledger: Ledger, jobs: int) -> None:
    """Show Redis's memory after many finished jobs in S3, before and after they have expired."""
    server: Any = ledger.connection.redis
    server.flushall()
    keep_s = 1.0
    before = server.info("memory")["used_memory"]
    ids = []
    for _ in track(range(jobs), "finished jobs", transient=True):
        job_id = _open(ledger, 1, keep_s=36_000)
        claim = _claim(ledger)
        ledger.complete(claim.job_id, claim.chunk, _COUNTS)
        ids.append(job_id)
    full = server.info("memory")["used_memory"]
    table.add_row(f"{jobs:,} finished jobs", f"{(full - before) / _MIB:.0f} MiB")
    if hasattr(ledger, "forget_expired"):
        for job_id in ids:
            server.hset(job_key(job_id), "keep_s", int(keep_s))
            ledger.summarized(job_id, chunks_done=1)
        time.sleep(keep_s + 1)
        while ledger.forget_expired():
            pass
        _wait_for_expiry(server)
    table.add_row("the same after --keep-days", f"{(server.info('memory')['used_memory'] - before) / _MIB:.0f} MiB")
    table.add_row("ids in the list of jobs then", f"{server.zcard(JOBS):,}")


def _wait_for_expiry(server: Any) -> None:
    """Wait until Redis has deleted the keys: it does so little by little. Keys of the pace expire after two minutes."""
    deadline = time.monotonic() + 180
    while server.dbsize() > 1 and time.monotonic() < deadline:
        time.sleep(1)
