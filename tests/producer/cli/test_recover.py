"""`fiqa recover`: jobs back into Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import fiqa, refused
from tests.producer.faceless import work


def test_recover_lists_the_jobs_that_redis_lost_and_rebuilds_them(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    storage = {"FIQA_STORAGE": str(tmp_path / "storage")}
    jobs = [fiqa("submit", images, env=storage).stdout.strip() for _ in range(3)]
    work(ledger)
    ledger.connection.redis.flushall()
    listed = fiqa("recover", env=storage)
    assert (listed.stdout.split(), listed.stderr) == (sorted(jobs), "")
    assert fiqa("recover", jobs[1], env=storage).returncode == 0
    (tmp_path / "storage" / "jobs" / jobs[0] / "job.json").unlink()

    rest = fiqa("recover", "--all", env=storage)
    assert rest.returncode == 1
    assert f"fiqa: no job.json of job {jobs[0]}" in rest.stderr
    assert f"job {jobs[2]} is succeeded: 0 scored, 20 no face, 0 failed" in rest.stderr
    assert {status.id for status in ledger.jobs()} == set(jobs[1:])


@pytest.mark.usefixtures("ledger")
def test_recover_reports_why_it_finds_nothing(images: Path, tmp_path: Path) -> None:
    storage = {"FIQA_STORAGE": str(tmp_path / "storage")}
    for arguments in ((), ("--all",)):
        line = refused(fiqa("recover", *arguments, env=storage), 1)
        assert line == f"no jobs are in {tmp_path}/storage: set FIQA_STORAGE to the storage of the jobs"
    fiqa("submit", images, env=storage)
    done = fiqa("recover", env=storage)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"nothing to recover: 1 job is in {tmp_path}/storage, all of them in Redis\n"
