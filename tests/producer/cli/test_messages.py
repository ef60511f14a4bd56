"""Bad lines of a source, what it leaves out, and names with escape codes, on standard error."""

from __future__ import annotations

import json
from pathlib import Path

from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import fiqa, refused


def test_submit_reports_bad_lines_and_submits_the_others(ledger: Ledger) -> None:
    done = fiqa("submit", "-", stdin='s3://b/1.jpg\n{"id": 5}\ns3://b/2.jpg\n')
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "fiqa: standard input, line 2: a JSON line needs `uri` or `source-ref`, a string",
        "2 images in 1 chunk",
    ]
    assert ledger.status(done.stdout.strip()).images == 2


def test_strict_fails_on_the_first_bad_line(ledger: Ledger) -> None:
    line = refused(fiqa("submit", "-", "--strict", stdin='s3://b/1.jpg\n{"id": 5}\n'), 2)
    assert line == "standard input, line 2: a JSON line needs `uri` or `source-ref`, a string"
    assert ledger.connection.redis.keys("fiqa*") == []


def test_many_bad_lines_are_reported_as_a_number(ledger: Ledger) -> None:
    done = fiqa("submit", "-", stdin="s3://b/1.jpg\n" + "{}\n" * 500)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["fiqa: 500 bad lines in all, the first 20 are above", "1 image in 1 chunk"]
    assert ledger.status(done.stdout.strip()).images == 1


def test_submit_reports_what_its_sources_leave_out(ledger: Ledger, images: Path) -> None:
    assert ledger.jobs() == []
    for name in ("a.dng", "b.dng", "c.mp4"):
        (images / name).touch()
    (images / "link").symlink_to(images, target_is_directory=True)
    done = fiqa("submit", images, "--json")
    assert done.stderr == f"left out: 2 .dng, 1 linked folder ({images / 'link'}), 1 .mp4\n"
    assert json.loads(done.stdout)["left_out"] == {".dng": 2, ".mp4": 1, "linked folder": 1}
    for image in images.glob("*.jpg"):
        image.unlink()
    nothing = fiqa("submit", images)
    assert nothing.returncode == 2
    first, second = nothing.stderr.splitlines()
    assert first.startswith("left out: 2 .dng, ")
    assert second.startswith("fiqa: the source holds no images: ")


def test_escape_codes_of_names_do_not_reach_the_terminal(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    assert ledger.jobs() == []
    for name in ("x\x1b[31m.jpg.y", "z.\x1b]0;owned\x07"):
        (images / name).touch()
    bad = tmp_path / "list.txt"
    bad.write_text("https\x1b[31m://x\n\x1b[31mhttps://x\ns3://b/a.jpg\n")
    assert fiqa("submit", images, "--name", "a\x1b[31mb").returncode == 0
    (job,) = ledger.jobs()
    commands = (["submit", images, bad], ["submit", tmp_path / "no\x1b[31m.txt"], ["jobs"], ["status", job.id])
    for command in commands:
        done = fiqa(*command)
        assert "\x1b" not in done.stdout + done.stderr


def test_results_report_and_retry_name_a_lost_shard_and_continue(job: str, tmp_path: Path) -> None:
    advice = f"1 shard is lost, all others are complete: run `fiqa repair {job}` to recreate lost ones"
    for form in ("jsonl", "csv"):
        done = fiqa("results", job, "--format", form)
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 16 + (form == "csv")
        assert "00000001.jsonl.gz" in done.stderr
        assert advice in done.stderr
    page = tmp_path / "page.html"
    done = fiqa("report", job, "-o", page)
    assert (done.returncode, page.exists(), advice in done.stderr) == (1, True, True)
    done = fiqa("retry", job)
    assert (done.returncode, "16 images" in done.stderr, advice in done.stderr) == (1, True, True)
