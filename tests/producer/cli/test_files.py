"""The files that commands write: whole or not at all, and never over another file."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import FIQA, fiqa, refused, submitted
from tests.producer.faceless import work
from tests.waiting import WAIT_S, wait_until


def test_results_overwrite_no_file_without_force_and_are_written_whole_or_not_at_all(
    ledger: Ledger, images: Path, tmp_path: Path
) -> None:
    job = submitted(images)
    work(ledger)
    folder = tmp_path / "out"
    folder.mkdir()
    output, link = folder / "out.csv", folder / "link.csv"
    output.write_text("precious\n")
    output.chmod(0o600)
    link.symlink_to(output)
    for path in (output, link):
        line = refused(fiqa("results", job, "-o", path), 2)
        assert line == f"{path} exists already: replace it with --force, or choose another file"
    assert output.read_text() == "precious\n"
    assert fiqa("results", job, "-o", link, "--force").returncode == 0
    assert output.read_bytes().count(b"\r\n") == 21
    assert output.stat().st_mode & 0o777 == 0o600
    assert sorted(folder.iterdir()) == [link, output]
    assert link.is_symlink()


def test_a_file_whose_writing_is_interrupted_is_not_there(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    job = submitted(images, "--chunk-size", "5")
    work(ledger, chunks=1)
    folder = tmp_path / "out"
    folder.mkdir()
    with subprocess.Popen(
        [*FIQA, "results", job, "--follow", "-o", folder / "out.jsonl"], stderr=subprocess.PIPE
    ) as run:
        wait_until(lambda: any(part.stat().st_size for part in folder.iterdir()))
        assert not (folder / "out.jsonl").exists()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=WAIT_S)
    assert run.returncode == 130
    assert list(folder.iterdir()) == []


def test_a_file_that_appears_while_results_are_written_is_kept(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    job = submitted(images, "--chunk-size", "5")
    work(ledger, chunks=1)
    folder = tmp_path / "out"
    folder.mkdir()
    output = folder / "out.jsonl"
    with subprocess.Popen([*FIQA, "results", job, "--follow", "-o", output], stderr=subprocess.PIPE, text=True) as run:
        wait_until(lambda: any(part.stat().st_size for part in folder.iterdir()))
        output.write_text("precious\n")
        work(ledger)
        _, reported = run.communicate(timeout=WAIT_S)
    assert run.returncode == 2
    assert reported == f"fiqa: {output} exists already: replace it with --force, or choose another file\n"
    assert output.read_text() == "precious\n"
    assert list(folder.iterdir()) == [output]
