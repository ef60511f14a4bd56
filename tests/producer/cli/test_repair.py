"""Commands about a job whose result shards are gone or damaged: they name them, go on, and end with status 1."""

from __future__ import annotations

from pathlib import Path

from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import fiqa, refused
from tests.producer.faceless import work


def test_repair_recreates_it_and_reports_that(job: str, ledger: Ledger) -> None:
    done = fiqa("repair", job)
    assert (done.returncode, done.stdout) == (0, "")
    named, said = done.stderr.splitlines()
    assert "00000001.jsonl.gz" in named
    assert said == f"job {job} is running: 1 shard is recreated"
    assert refused(fiqa("repair", job), 1) == f"job {job} is running: only a finished one can be repaired"
    work(ledger)
    assert fiqa("repair", job).stderr == f"job {job} has all its shards\n"
    assert len(fiqa("results", job).stdout.splitlines()) == 20


def test_recover_counts_the_shards_that_are_whole_and_names_the_others(
    job: str, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.connection.redis.flushall()
    (tmp_path / "storage" / "jobs" / job / "results" / "00000000.jsonl.gz").write_bytes(b"garbage")
    done = fiqa("recover", job)
    assert done.returncode == 1
    assert f"fiqa: results 0 of job {job} is damaged" in done.stderr
    assert "1 of its shards is damaged and not counted: workers recreate what is lost" in done.stderr
    work(ledger)
    assert ledger.status(job).no_face == 20
