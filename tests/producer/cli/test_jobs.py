"""The job commands: status, jobs, watch, pause, resume, cancel, delete, retry."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

from fiqa.contract import ErrorCode
from fiqa.jobs.summary import write_summary
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import open_storage
from tests.keys import job_key
from tests.producer.cli.running import FIQA, JOB_ID, fiqa, refused, submitted
from tests.producer.faceless import failed, work

STATUS_KEYS = {
    "id", "name", "state", "images", "scored", "no_face", "failed", "faces", "chunks", "chunks_done", "images_per_s",
    "eta_s", "created", "started", "finished", "last_error", "reason",
}  # fmt: skip


def test_an_interrupted_watch_reports_it_and_exits_with_130(ledger: Ledger, images: Path) -> None:
    job = submitted(images)
    with subprocess.Popen([*FIQA, "watch", job], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while not any(client["cmd"] == "hgetall" for client in ledger.connection.redis.client_list()):
            time.sleep(0.02)
        # By then it polls four times a second. While it polls, redis-py's Pipeline.__del__ may swallow a Ctrl-C.
        time.sleep(2)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (130, b"")
    *_, interrupted, goes_on = err.decode().splitlines()
    assert interrupted == "fiqa: interrupted"
    assert goes_on.startswith(f"fiqa: job {job} continues: ")
    assert b"Traceback" not in err
    assert ledger.status(job).state == "running"


def test_status_is_for_people_and_as_json_for_programs(ledger: Ledger, images: Path) -> None:
    job = submitted(images, "--name", "[/x] [red]odd")
    shown = fiqa("status", job).stdout
    assert job in shown
    assert "[/x] [red]odd" in shown
    assert "0 of 20" in shown

    work(ledger)
    fields = json.loads(fiqa("status", job, "--json").stdout)
    assert fields.keys() >= STATUS_KEYS
    assert (fields["id"], fields["name"], fields["state"]) == (job, "[/x] [red]odd", "succeeded")
    assert (fields["images"], fields["no_face"], fields["failed_by_code"]) == (20, 20, {})


def test_jobs_lists_the_newest_first_with_whole_ids_and_numbers(ledger: Ledger, images: Path) -> None:
    jobs = [submitted(images, "--name", f"a long name [/] of job {number}") for number in range(3)]
    ledger.connection.redis.hset(job_key(jobs[0]), mapping={"images": 12_345_678_901, "scored": 10_234_567_890})
    shown = fiqa("jobs", env={"COLUMNS": "60"}).stdout
    assert JOB_ID.findall(shown) == jobs[::-1]
    assert "12,345,678,901" in shown
    assert "10,234,567,890" in shown
    assert "…" not in shown
    # None of them has a rate, since none has started.
    assert [line.split()[-1] for line in shown.splitlines()] == ["images/s", "-", "-", "-"]
    lines = fiqa("jobs", "--json", "--limit", "2").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == jobs[:0:-1]


def test_an_empty_ledger_has_no_jobs_to_list(ledger: Ledger) -> None:
    assert ledger.jobs() == []
    done = fiqa("jobs", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert fiqa("jobs").returncode == 0


def test_watch_ends_with_the_job(ledger: Ledger, images: Path) -> None:
    job = submitted(images)
    work(ledger)
    done = fiqa("watch", job)
    assert (done.returncode, done.stdout) == (0, "")
    assert "20 no face" in done.stderr


def test_watch_as_json_prints_each_change_once(ledger: Ledger, images: Path) -> None:
    job = submitted(images, "--chunk-size", "10")
    with subprocess.Popen([*FIQA, "watch", job, "--json"], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        printed = [json.loads(run.stdout.readline())]
        for _ in range(2):
            work(ledger, chunks=1)
            printed.append(json.loads(run.stdout.readline()))
        assert run.stdout.read() == b""
    assert [(line["state"], line["no_face"]) for line in printed] == [
        ("running", 0),
        ("running", 10),
        ("succeeded", 20),
    ]
    assert run.returncode == 0


def test_pause_resume_cancel_and_delete_print_the_new_state(ledger: Ledger, images: Path) -> None:
    job = submitted(images)
    assert "paused, normal priority" in fiqa("pause", job).stdout
    assert json.loads(fiqa("pause", job, "--json").stdout)["state"] == "paused"
    assert json.loads(fiqa("resume", job, "--json").stdout)["state"] == "running"
    assert "cannot delete it: `fiqa cancel" in refused(fiqa("delete", job), 1)
    assert json.loads(fiqa("cancel", job, "--json").stdout)["state"] == "cancelled"
    assert "is cancelled: cannot pause it" in refused(fiqa("pause", job), 1)
    done = fiqa("delete", job)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"job {job} is deleted\n")
    assert ledger.jobs() == []


def test_retry_prints_the_id_of_the_new_job(ledger: Ledger, images: Path) -> None:
    job = submitted(images)
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    assert "--all retries them too" in refused(fiqa("retry", job), 2)
    again = fiqa("retry", job, "--all").stdout.strip()
    assert ledger.status(again).parent == job
    assert job in fiqa("status", again).stdout


def test_jobs_all_lists_those_that_redis_has_forgotten(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    storage = {"FIQA_STORAGE": str(tmp_path / "storage")}
    ids = [fiqa("submit", images, env=storage).stdout.strip() for _ in range(2)]
    work(ledger)
    before = [json.loads(line) for line in fiqa("jobs", "--json").stdout.splitlines()]
    for job_id in ids:
        write_summary(job_id, ledger=ledger, open_storage=lambda url: open_storage(url, ledger.connection))
    ledger.connection.redis.delete(*(job_key(job_id) for job_id in ids))
    assert fiqa("jobs", "--json").stdout == ""
    found = [json.loads(line) for line in fiqa("jobs", "--all", "--json", env=storage).stdout.splitlines()]
    assert [job["id"] for job in found] == [job["id"] for job in before]
    assert [(job["state"], job["no_face"], job["storage"]) for job in found] == [
        ("succeeded", 20, str(tmp_path / "storage"))
    ] * 2
    assert len(fiqa("jobs", "--all", "--limit", "1", env=storage).stdout.splitlines()) == 2
