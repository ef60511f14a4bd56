from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path

import pytest

from fiqa.cli.output import Destination, exit_status, write_results
from fiqa.contract import JobState
from fiqa.errors import FiqaError, OutputError
from fiqa.results.export import Format
from tests.producer.status import STATUS


def test_results_that_cannot_be_written_are_read_no_further() -> None:
    def read() -> Generator[list[bytes], None, None]:
        yield [b"1"]
        yield [b"2"]

    shards = read()
    with pytest.raises(OutputError, match=r"^cannot write /dev/full: No space left on device: choose another file$"):
        write_results(Destination(Path("/dev/full")), shards)
    assert next(shards, None) is None  # it is closed


@pytest.mark.parametrize(
    ("name", "form", "gzipped"),
    [
        ("a.jsonl", Format.JSONL, False),
        ("A.JSONL", Format.JSONL, False),
        ("a.jsonl.gz", Format.JSONL, True),
        ("a.csv", Format.CSV, False),
        ("a.b.CSV.GZ", Format.CSV, True),
        ("a.PARQUET", Format.PARQUET, False),
    ],
)
def test_the_suffix_of_a_file_decides_its_format(name: str, form: Format, *, gzipped: bool) -> None:
    assert Destination.of(Path(name)) == Destination(Path(name), form, gzipped)
    assert Destination.of(Path(name), form) == Destination(Path(name), form, gzipped)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a.xlsx",
        "a.json",
        "a.gz",
        "a.parquet.gz",
        "a.csv.zip",
        "a.csv.gz.gz",
        "a.jsonl.",
        ".jsonl",
        ".csv.gz",
        "a.tsv",
    ],
)
def test_an_unknown_suffix_is_refused_with_the_list_of_known_ones(name: str) -> None:
    for form in (None, Format.CSV):
        with pytest.raises(OutputError) as caught:
            Destination.of(Path(name), form)
        assert str(caught.value) == (
            f"cannot write {name}: its name must end in .jsonl, .jsonl.gz, .csv, .csv.gz or .parquet"
        )


def test_a_format_that_differs_from_the_suffix_is_refused() -> None:
    with pytest.raises(FiqaError, match=r"^a.csv with --format jsonl: omit --format: "):
        Destination.of(Path("a.csv"), Format.JSONL)


def test_standard_output_and_devices_have_no_suffix() -> None:
    assert Destination.of(None) == Destination()
    assert Destination.of(None, Format.CSV).file_format is Format.CSV
    assert Destination.of(Path("/dev/stdout"), Format.CSV) == Destination(Path("/dev/stdout"), Format.CSV)


@pytest.mark.parametrize(
    ("state", "failed", "before", "expected"),
    [
        (JobState.SUCCEEDED, 6_000, {}, 0),
        (JobState.SUCCEEDED, 6_001, {}, 1),
        (JobState.CANCELLED, 0, {}, 1),
        # With --resume, earlier results in the file count too.
        (JobState.SUCCEEDED, 12_000, {"images": 20_000, "failed": 4_000}, 0),
        (JobState.SUCCEEDED, 12_000, {"images": 20_000, "failed": 4_001}, 1),
    ],
)
def test_the_exit_status_is_1_if_too_many_images_failed(
    state: JobState, failed: int, before: dict[str, int], expected: int
) -> None:
    assert exit_status(dataclasses.replace(STATUS, state=state, failed=failed), **before) == expected
