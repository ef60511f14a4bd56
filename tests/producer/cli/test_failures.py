"""What `submit --wait` and `watch` report about failed images."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from fiqa.contract import ErrorCode
from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.cli.running import FIQA, fiqa
from tests.producer.faceless import failed, work


def test_a_job_whose_images_all_failed_is_reported_with_the_reason(ledger: Ledger, images: Path) -> None:
    with subprocess.Popen([*FIQA, "submit", images, "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            work(ledger, end=lambda item: failed(item, ErrorCode.DECODE_FAILED))
            time.sleep(0.05)
        assert run.stdout is not None
        assert run.stderr is not None
        job, reported = run.stdout.read().decode().strip(), run.stderr.read().decode()
    uri = (images / "00.jpg").as_uri()
    why = f"fiqa: 100 % failed, more than --max-failed 50 %: the first is {uri}: decode_failed: it is decode_failed"
    assert run.returncode == 1
    assert reported.splitlines()[-1] == why
    again = fiqa("watch", job, "--json")
    assert (again.returncode, again.stderr) == (1, f"{why}\n")
    ledger.connection.redis.delete(job_key(job, "results"))  # they are gone before the job is
    assert fiqa("watch", job).stderr.splitlines()[-1] == "fiqa: 100 % failed, more than --max-failed 50 %"
