"""`fiqa report`: jobs and files of results to a page."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fiqa import Client
from fiqa.contract import ImageResult, Item
from fiqa.ledger.ledger import Ledger
from tests.fiqa_process import Run
from tests.producer.cli.running import fiqa
from tests.producer.faceless import work
from tests.producer.results.pages import Page, result, write


def report(*arguments: str | Path, cwd: Path | None = None) -> Run:
    done = fiqa("report", *arguments, cwd=cwd)
    assert done.stdout == ""
    return done


def test_the_command_writes_a_page_of_files(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    write(tmp_path / "b.jsonl.gz", [result("s3://b/2", 0.6), result("s3://b/3")])
    done = report("a.jsonl", "b.jsonl.gz", "-o", "report.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "3 results in report.html\n")
    seen = Page((tmp_path / "report.html").read_text())
    assert "a.jsonl: 1 image, 1 scored" in seen.text
    assert "b.jsonl.gz: 2 images, 1 scored, 1 without a face" in seen.text


def test_lines_that_are_not_results_are_reported_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    with path.open("ab") as file:
        file.write(b"<script>\n\n" + b'{"v": 1}\n' * 4 + b"x" * (17 << 20) + b"\n" + result("s3://b/2", 0.7).encode())
    done = report(path, "-o", tmp_path / "report.html")
    assert done.returncode == 0
    *reported, last, wrote = done.stderr.splitlines()
    assert [re.findall(r"line (\d+): ", line) for line in reported] == [["2"], ["4"], ["5"]]
    assert last == f"fiqa: {path}: 6 lines in all are not results: left out of the report"
    assert wrote.startswith("2 results in ")
    assert "6 lines were left out: they are not results." in Page((tmp_path / "report.html").read_text()).text


def test_the_command_reads_a_job_also_while_it_runs(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", redis_url)
    monkeypatch.setenv("FIQA_STORAGE", "redis")

    def scored(item: Item) -> ImageResult:
        return result(item.uri, int(item.uri.rpartition("/")[2]) / 100)

    with Client() as client, closing(Ledger(redis_url)) as ledger:
        job = client.submit((f"s3://b/{n}" for n in range(1, 61)), name="<b>front door</b>", chunk_size=20)
        work(ledger, 2, scored)
        assert report(job.id, "-o", tmp_path / "some.html").stderr == f"40 results in {tmp_path / 'some.html'}\n"
        work(ledger, end=scored)
        assert report(job.id, "-o", tmp_path / "all.html").stderr == f"60 results in {tmp_path / 'all.html'}\n"

    some, everything = (Page((tmp_path / name).read_text()) for name in ("some.html", "all.html"))
    assert f"<b>front door</b> ({job.id}) is running: this page shows 40 of 60 images." in some.text
    assert f"<b>front door</b> ({job.id}): 60 images, 60 scored" in everything.text
    assert "Job succeeded Started 20" in everything.text
    assert "Images per second" in everything.text
    assert "is running" not in everything.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
        (["good.jsonl"] * 7, "a report compares at most 6 inputs: join files that belong together"),
        (
            ["good.jsonl", "-o", "no/where.html"],
            "cannot write no/where.html: No such file or directory: choose another file",
        ),
        (["x" * 300], f"'{'x' * 300}' is not a job id: `fiqa jobs` lists them"),
        (["no-job"], "'no-job' is not a job id: `fiqa jobs` lists them"),
    ],
)
def test_the_error_for_a_wrong_call_is_one_line_and_loses_no_page(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "good.jsonl", [result("s3://b/1", 0.5)])
    (tmp_path / "report.html").write_text("yesterday's")
    done = report("-o", "report.html", *arguments, "--force", cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert done.stderr == f"fiqa: {message}\n"
    assert (tmp_path / "report.html").read_text() == "yesterday's"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("old.html", "old.html exists already: replace it with --force, or choose another file"),
        ("page.pdf", "cannot write page.pdf: its name must end in .html or .htm"),
        ("-", "cannot write -: its name must end in .html or .htm"),
    ],
)
def test_a_page_overwrites_no_file_and_has_no_other_suffix(name: str, message: str, tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", [result("s3://b/1", 0.5)])
    (tmp_path / "old.html").write_text("yesterday's")
    done = report("good.jsonl", "-o", name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"fiqa: {message}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.jsonl", "old.html"]
    assert (tmp_path / "old.html").read_text() == "yesterday's"
    assert report("good.jsonl", "-o", "old.html", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "old.html").read_text().startswith("<!DOCTYPE html>")


def test_a_page_never_overwrites_its_input(tmp_path: Path) -> None:
    path = write(tmp_path / "good.jsonl", [result("s3://b/1", 0.5)])
    (tmp_path / "link.html").symlink_to(path)
    done = report("good.jsonl", "-o", "link.html", "--force", cwd=tmp_path)
    assert done.stderr == "fiqa: cannot write link.html: it is the input: choose another file\n"


def test_a_uri_is_not_an_input_and_its_secret_is_not_shown(tmp_path: Path) -> None:
    done = report("s3://KEY:SECRET@b/x.jsonl", "-o", "page.html", cwd=tmp_path)
    line = "fiqa: s3://***@b/x.jsonl: a report reads a job or a file on this machine: copy the file here\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_the_command_loads_what_draws_only_when_it_draws() -> None:
    code = "import fiqa.cli.report, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fiqa" in done.stdout.split()
    assert not {"jinja2", "matplotlib", "PIL", "numpy"} & set(done.stdout.split())


def without(missing: str, *arguments: str, cwd: Path) -> Run:
    """Run `fiqa report` where a package is not installed."""
    code = f"import sys; sys.modules[{missing!r}] = None; from fiqa.cli.main import main; main()"
    command = [sys.executable, "-c", code, "report", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("missing", "file", "message"),
    [
        ("jinja2", "-opage.html", "a report needs jinja2: pip install 'fiqa[report]'"),
        ("matplotlib", "--figure=a.png", "a figure needs matplotlib: pip install 'fiqa[figure]'"),
    ],
)
def test_without_the_extra_one_line_says_what_to_install(missing: str, file: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    done = without(missing, str(path), file, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"fiqa: {message}\n")
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


def test_without_the_workers_packages_a_page_has_no_faces_and_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    done = without("cv2", str(path), "-opage.html", "--faces=9", cwd=tmp_path)
    reason = "the page has no faces, since cv2 is not installed: pip install 'fiqa[cpu]'"
    assert (done.returncode, done.stderr) == (0, f"fiqa: {reason}\n1 result in page.html\n")
    assert reason in Page((tmp_path / "page.html").read_text()).text


def test_a_page_shows_faces_of_sources_and_what_is_gone(tmp_path: Path) -> None:
    image = Path(__file__).parents[3] / "worker" / "fiqa_worker" / "demo" / "portrait" / "astronaut.jpg"
    results = [result(image.as_uri(), 0.8), result((tmp_path / "gone.jpg").as_uri(), 0.3)]
    write(tmp_path / "a.jsonl", results)
    done = report("a.jsonl", "-o", "report.html", "--faces", "24", "--figure", "quality.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "2 results in quality.png\n2 results in report.html\n")
    seen = Page((tmp_path / "report.html").read_text())
    assert seen.elements["img"] == 1
    assert "not_found: no such file" in seen.text
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_needs_no_page(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    write(tmp_path / "b.jsonl", [result("s3://b/1", 0.7)])
    done = report("a.jsonl", "b.jsonl", "--figure", "quality.svg", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "2 results in quality.svg\n")
    assert "b.jsonl: 1 image with a face, median quality 0.700" in (tmp_path / "quality.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a file for the page with -o, or for the figure with --figure"),
        (["--figure", "a.svg", "--faces", "9"], "--faces is for the page: name its file with -o"),
        (["--figure", "a.gif"], "cannot write a.gif: its name must end in .svg or .png"),
    ],
)
def test_a_report_without_a_file_to_write_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", [result("s3://b/1", 0.5)])
    done = report("good.jsonl", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"fiqa: {message}\n")
