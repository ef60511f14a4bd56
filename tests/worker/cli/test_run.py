"""`fiqa run`: what it takes, what it writes, and what it never writes over."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fiqa import ImageResult, Status
from fiqa.contract import ErrorCode, ImageError
from tests.fiqa_process import BUILTIN, Fiqa, one_line
from tests.waiting import WAIT_S, wait_until
from tests.worker.local.started import started_in


def test_run_writes_a_table_if_the_files_suffix_names_one(fiqa: Fiqa, photos: Path, tmp_path: Path) -> None:
    images = [photos / "original-0.jpg", photos / "blur-4.jpg", photos / "group-0.jpg"]
    options = ("--measures", "--min-face-px", "60", "--max-faces", "3")
    done = fiqa("run", *images, *options, "-o", tmp_path / "out.csv", "--annotate", tmp_path / "annotated")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == f"3 annotated images in {tmp_path / 'annotated'}"
    assert {path.name for path in (tmp_path / "annotated").iterdir()} == {image.name for image in images}
    with (tmp_path / "out.csv").open(newline="") as file:
        good, blurred, *group = csv.DictReader(file)
    assert good["uri"] == images[0].as_uri()
    assert (good["reasons"], blurred["reasons"]) == ("", "blurred")
    assert float(blurred["laplacian_variance"]) < float(good["laplacian_variance"])
    assert [(row["faces"], row["faces_left_out"], row["reasons"]) for row in group] == [("3", "3", "several_faces")] * 3


def test_run_reports_the_built_in_models_that_are_the_fallback(fiqa: Fiqa, photos: Path) -> None:
    # A proxy that refuses, so that the test never leaves this machine.
    environment = {"https_proxy": "http://127.0.0.1:9"}
    done = fiqa("run", photos / "original-0.jpg", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "using builtin_detector and builtin_quality" in done.stderr
    assert ImageResult.decode(done.stdout).detector == "builtin_detector"


@pytest.mark.parametrize("command", ["run", "score", "demo"])
@pytest.mark.parametrize("named", [("FIQA_DETECTOR", "yunet_2023mar"), ("FIQA_QUALITY_MODEL", "ediffiqa_tiny_jun2024")])
def test_a_model_that_was_named_is_never_replaced_by_the_built_in_one(
    fiqa: Fiqa, photos: Path, command: str, named: tuple[str, str]
) -> None:
    setting, model = named
    arguments = [] if command == "demo" else [photos / "original-0.jpg"]
    done = fiqa(command, *arguments, environment={"https_proxy": "http://127.0.0.1:9", setting: model})
    assert (done.returncode, done.stdout) == (2, "")
    assert f"fiqa: {setting}: {model} is not in " in done.stderr
    assert "using builtin" not in done.stderr


def test_a_run_that_cannot_write_its_results_fails_before_it_scores(fiqa: Fiqa, photos: Path) -> None:
    done = fiqa("run", photos, "-o", "nowhere/out.csv")
    assert done.returncode == 2
    assert one_line(done) == ("fiqa: cannot write nowhere/out.csv: No such file or directory: choose another file")


def test_a_run_that_waited_for_its_source_keeps_the_results_that_another_run_wrote(
    fiqa: Fiqa, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "fiqa", "run", "-", "-o", output],
        env={**os.environ, **BUILTIN},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as late:
        assert fiqa("run", photos / "original-0.jpg", "-o", output).returncode == 0
        written = output.read_bytes()
        _, reported = late.communicate(f"{photos / 'blur-1.jpg'}\n", timeout=WAIT_S)
    assert late.returncode == 2
    exists = (
        f"fiqa: {output} exists already: add to it with --resume, replace it with --force, or choose another file\n"
    )
    assert reported == exists
    assert output.read_bytes() == written


def test_a_run_replaces_results_with_force_but_never_its_own_source(fiqa: Fiqa, photos: Path, tmp_path: Path) -> None:
    for name in ("out.jsonl", "out.csv.gz"):
        output = tmp_path / name
        output.write_bytes(b"precious\n")
        assert fiqa("run", photos / "original-0.jpg", "-o", output).returncode == 2
        assert output.read_bytes() == b"precious\n"
        assert fiqa("run", photos / "original-0.jpg", "-o", output, "--force").returncode == 0
        read = gzip.decompress(output.read_bytes()) if name.endswith(".gz") else output.read_bytes()
        assert (photos / "original-0.jpg").as_uri().encode() in read
        assert b"precious" not in read
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"uri": "s3://b/a.jpg"}\n')
    for option in ("--force", "--resume"):
        line = one_line(fiqa("run", listed, "-o", listed, option))
        assert line == f"fiqa: cannot write {listed}: it is the input: choose another file"
    assert listed.read_text() == '{"uri": "s3://b/a.jpg"}\n'


def test_the_error_of_run_for_a_source_without_images_is_one_line(fiqa: Fiqa, tmp_path: Path) -> None:
    done = fiqa("run", tmp_path / "cwd")
    assert done.returncode == 2
    assert "no images" in done.stderr


def test_a_self_test_that_gives_another_value_than_published_is_a_warning(
    fiqa: Fiqa, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from fiqa_worker.pipeline import self_test\n"
        "self_test._KNOWN['builtin_quality'] = self_test._Known(0.5160775, measured_here=False)\n"
    )
    environment = BUILTIN | {"PYTHONPATH": str(tmp_path)}
    done = fiqa("run", photos / "original-0.jpg", "--concurrency", "1", environment=environment)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    (line,) = [line for line in done.stderr.splitlines() if "self-test" in line]
    assert line.startswith("fiqa: self-test: builtin_quality@")


# More than three seconds of work after the first results, so that a stop comes before the end.
IMAGES: Final = 120


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["sigterm", "sigkill"])
def test_a_run_that_was_stopped_leaves_nothing_behind_and_can_be_resumed(
    fiqa: Fiqa, photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    temporary, listed, output = tmp_path / "temporary", tmp_path / "list.txt", tmp_path / "out.jsonl"
    temporary.mkdir()
    listed.write_text(f"{photos / 'large-0.jpg'}\n" * IMAGES)
    with subprocess.Popen(
        [sys.executable, "-m", "fiqa", "run", listed, "-o", output, "--concurrency", "1"],
        env={**os.environ, **BUILTIN, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        wait_until(lambda: output.is_file() and output.stat().st_size)
        run.send_signal(number)
        _, reported = run.communicate(timeout=WAIT_S)
    assert run.returncode == (-number if number is signal.SIGKILL else 128 + number)
    wait_until(lambda: not started_in(temporary) and not list(temporary.glob("[!.]*")))
    so_far = output.read_bytes().count(b"\n")
    assert 0 < so_far < IMAGES
    assert "Traceback" not in reported
    if number is signal.SIGTERM:
        assert reported.endswith(
            f"the results so far are in {output}: to continue, run the same command with --resume\n"
        )

    refused = fiqa("run", listed, "-o", output)
    assert refused.returncode == 2
    exists = f"fiqa: {output} exists already: add to it with --resume, replace it with --force, or choose another file"
    assert one_line(refused) == exists
    failed = ImageResult.decode(output.read_bytes().splitlines()[0]).model_copy(
        update={"status": Status.FAILED, "faces": (), "error": ImageError(code=ErrorCode.FETCH_FAILED, message="")}
    )
    # At the start of the file: if the run was killed in the middle of a line, that line must stay the last one.
    output.write_bytes(failed.encode() + b"\n" + output.read_bytes())
    images = so_far + 5
    listed.write_text(f"{photos / 'large-0.jpg'}\n" * images)  # of the others nothing more can be learned
    resumed = fiqa("run", listed, "-o", output, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    results = [ImageResult.decode(line) for line in output.read_bytes().splitlines()]
    assert len(results) == images
    assert {result.status for result in results} == {Status.SCORED}
    again = fiqa("run", listed, "-o", output, "--resume")
    assert again.returncode == 0
    assert again.stderr == f"{images} results are in {output} already\nnothing is left to score: see {output}\n"
    assert one_line(fiqa("run", listed, "--resume")).startswith("fiqa: --resume needs a .jsonl file")
