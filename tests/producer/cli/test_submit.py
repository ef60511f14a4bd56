"""`fiqa submit`: sources to jobs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fiqa.ledger.ledger import Ledger
from tests.keys import job_key
from tests.producer.cli.running import FIQA, JOB_ID, fiqa, refused, submitted
from tests.producer.faceless import work


def test_submit_prints_the_id_alone_on_standard_output(ledger: Ledger, images: Path) -> None:
    done = fiqa("submit", images, "--name", "holiday", "--chunk-size", "7")
    assert done.returncode == 0
    assert JOB_ID.fullmatch(done.stdout.strip())
    assert done.stderr == "20 images in 3 chunks\n"
    status = ledger.status(done.stdout.strip())
    assert (status.name, status.priority, status.chunks) == ("holiday", "normal", 3)


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_submit_takes_each_priority_by_its_name(ledger: Ledger, images: Path, priority: str) -> None:
    assert ledger.status(submitted(images, "--priority", priority)).priority == priority


def test_submit_takes_several_sources_and_standard_input(ledger: Ledger, images: Path) -> None:
    job = submitted(images / "00.jpg", "-", images, stdin="s3://b/1.jpg\ns3://b/2.jpg\n")
    assert ledger.status(job).images == 1 + 2 + 20


def test_submit_can_wait_for_the_end_of_the_job(ledger: Ledger, images: Path) -> None:
    with subprocess.Popen([*FIQA, "submit", images, "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            work(ledger)
            time.sleep(0.05)
        assert run.stdout is not None
        assert run.stderr is not None
        job, reported = run.stdout.read().decode().strip(), run.stderr.read().decode()
    assert run.returncode == 0
    assert JOB_ID.fullmatch(job)
    assert "succeeded" in reported
    assert "Traceback" not in reported


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_while_it_waits_says_that_the_job_continues(ledger: Ledger, images: Path, options: list[str]) -> None:
    command = [*FIQA, "submit", str(images), "--wait", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.readline()  # the id: from now on it follows the job
        time.sleep(2)  # as in test_jobs: while it polls often, redis-py may swallow a Ctrl-C
        run.send_signal(signal.SIGINT)
        lines = run.stderr.read().decode().splitlines()
    (job,) = ledger.jobs()
    assert run.returncode == 130
    assert job.state == "running"
    goes_on = (
        f"job {job.id} continues: `fiqa watch {job.id}` follows it again, `fiqa cancel {job.id}` stops it for good"
    )
    assert lines[-2:] == ["fiqa: interrupted", f"fiqa: {goes_on}"]


def test_a_uri_given_twice_is_two_images(ledger: Ledger) -> None:
    job = submitted("-", stdin="s3://b/1.jpg\ns3://b/1.jpg\n")
    work(ledger)
    assert fiqa("results", job).stdout.count('"uri":"s3://b/1.jpg"') == 2


def test_submit_as_json_prints_the_jobs_id_name_and_size(ledger: Ledger, images: Path) -> None:
    printed = json.loads(fiqa("submit", images, "--json", "--name", "holiday").stdout)
    assert printed == {"id": ledger.jobs()[0].id, "name": "holiday", "images": 20, "chunks": 2, "left_out": {}}


def test_submit_sets_the_failure_threshold_and_how_long_the_job_is_kept(ledger: Ledger, images: Path) -> None:
    job = submitted(images, "--max-failed", "0.25", "--keep-days", "0.5")
    assert ledger.connection.redis.hmget(job_key(job), "max_failed", "keep_s") == [b"0.25", b"43200"]


def test_submit_passes_the_options_for_faces_on(ledger: Ledger, images: Path) -> None:
    job = submitted(images, "--measures", "--min-face-px", "40", "--max-faces", "3")
    assert ledger.status(job).options == {"measures": True, "min_face_px": 40, "max_faces": 3}
    assert fiqa("submit", images, "--max-faces", "0").returncode == 2


def test_an_interrupted_submit_says_what_to_do_with_the_unfinished_job(ledger: Ledger) -> None:
    command = [*FIQA, "submit", "-", "--chunk-size", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        run.stdin.write(b"s3://b/1.jpg\n" * 3)
        run.stdin.flush()
        while not ledger.connection.redis.keys(job_key("*:manifest")):
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        lines = run.stderr.read().decode().splitlines()
    (half,) = ledger.jobs()
    assert run.returncode == 130
    assert lines[-2] == "fiqa: interrupted"
    assert lines[-1].startswith(f"fiqa: job {half.id} is left `preparing`: submit it again with --resume-id {half.id}")
    assert submitted("-", "--resume-id", half.id, stdin="s3://b/1.jpg\n") == half.id
    assert ledger.status(half.id).images == 1


@pytest.mark.parametrize("source", ["missing", "x" * 300, "https://example.org/", "."])
def test_a_source_that_cannot_be_read_exits_with_2(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(fiqa("submit", source), 2)
    assert ledger.connection.redis.dbsize() == 0


def test_closed_standard_input_exits_with_2(ledger: Ledger) -> None:
    shell = f"exec {sys.executable} -m fiqa submit - <&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert refused(done, 2) == "standard input is closed: pipe a list into it"
    assert ledger.connection.redis.dbsize() == 0
