"""`fiqa results`: where results are written, and which."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fiqa.contract import ImageResult
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from tests.producer.cli.running import FIQA, fiqa, refused, submitted
from tests.producer.faceless import work
from tests.producer.results.pages import result


def test_results_go_to_standard_output_or_to_a_file(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    job = submitted(images)
    assert fiqa("results", job).stdout == ""
    work(ledger)

    printed = fiqa("results", job)
    results = [ImageResult.decode(line) for line in printed.stdout.splitlines()]
    assert [result.uri for result in results] == [path.as_uri() for path in sorted(images.iterdir())]
    assert printed.stderr == ""
    assert fiqa("results", job, "-o", "-").stdout == printed.stdout

    written = fiqa("results", job, "-o", tmp_path / "out.jsonl")
    assert (written.stdout, written.stderr) == ("", f"20 results in {tmp_path / 'out.jsonl'}\n")
    assert (tmp_path / "out.jsonl").read_text() == printed.stdout


def test_results_are_selected_and_formatted_as_asked(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    job = submitted(images)
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


def test_results_are_chosen_by_comparing_images(ledger: Ledger, tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text("".join(f'{{"uri": "s3://b/{n}", "id": "person {n % 3}"}}\n' for n in range(9)))
    job = submitted(listed, "--chunk-size", "4")
    work(ledger, end=lambda item: result(item.uri, int(item.uri[-1]) / 10, id=item.id))

    def chosen(*options: str) -> list[str]:
        return [ImageResult.decode(line).uri[-1] for line in fiqa("results", job, *options).stdout.splitlines()]

    assert chosen("--best-per-id") == ["6", "7", "8"]
    assert chosen("--top", "2") == ["8", "7"]
    assert chosen("--worst", "2", "--best", "--min-face-px", "100") == ["0", "1"]
    assert chosen("--min-face-px", "101") == []
    line = refused(fiqa("results", job, "--reason", "blurred"), 2)
    assert line == f"the results of {job} have no reasons: submit its images again with --measures"
    assert refused(fiqa("results", job, "--top", "1", "--worst", "1"), 2).startswith("choose either the best images")


def test_a_job_without_ids_has_no_best_image_of_an_id(ledger: Ledger, images: Path) -> None:
    job = submitted(images)
    work(ledger, end=lambda item: result(item.uri, 0.5))
    line = refused(fiqa("results", job, "--best-per-id"), 0)
    assert line == "none of the selected images has an id: give ids in the source of the job"


def test_results_can_be_followed_to_the_end(ledger: Ledger, images: Path) -> None:
    job = submitted(images, "--chunk-size", "5")
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
    refused(fiqa("results", new_job_id(), "-o", output, "--force"), 1)
    assert output.read_text() == "precious\n"


def test_the_error_for_results_that_cannot_be_written_is_one_line(ledger: Ledger, images: Path, tmp_path: Path) -> None:
    job = submitted(images)
    work(ledger)
    output = tmp_path / "missing" / "out.jsonl"
    for path, why in ((output, "No such file or directory"), (Path("/dev/full"), "No space left on device")):
        assert refused(fiqa("results", job, "-o", path), 2) == f"cannot write {path}: {why}: choose another file"


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.csv.gz"])
def test_a_gzipped_file_holds_what_the_plain_one_does(ledger: Ledger, images: Path, tmp_path: Path, name: str) -> None:
    job = submitted(images)
    work(ledger)
    plain = name.removesuffix(".gz")
    for path in (name, plain):
        assert fiqa("results", job, "-o", tmp_path / path).returncode == 0
    assert gzip.decompress((tmp_path / name).read_bytes()) == (tmp_path / plain).read_bytes()


def test_a_reader_that_closes_the_pipe_ends_results_quietly(ledger: Ledger) -> None:
    job = submitted("-", stdin="".join(f"s3://photos/{number}.jpg\n" for number in range(5_000)))
    work(ledger)
    with subprocess.Popen([*FIQA, "results", job], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert ImageResult.decode(run.stdout.readline()).uri == "s3://photos/0.jpg"
        run.stdout.close()
        assert run.stderr.read() == b""
