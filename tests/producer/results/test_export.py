from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Reason, Status
from fiqa.measures import MEASURES
from fiqa.results.export import COLUMNS, MEASURE_COLUMNS, Format, write
from fiqa.results.selection import Selection

POINTS = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.5, 10.5))


HOSTILE = 's3://b/a,"b"\n=cmd|.jpg'


def face(quality: float) -> Face:
    return Face(box=(10.5, 20.0, 30.0, 40.0), confidence=0.9, landmarks=POINTS, quality=quality)


def result(uri: str, *qualities: float, code: ErrorCode | None = None) -> ImageResult:
    status = Status.FAILED if code else Status.SCORED if qualities else Status.NO_FACE
    return ImageResult(
        uri=uri,
        id="7",
        status=status,
        image=None if code else ImageSize(width=640, height=480),
        faces=tuple(face(quality) for quality in qualities),
        error=ImageError(code=code, message="no such object") if code else None,
        detector="d",
        quality_model="q",
        ms=12.5,
    )


RESULTS = [
    result("s3://b/two.jpg", 0.2, 0.8),
    result("s3://b/one.jpg", 0.5),
    result("s3://b/none.jpg"),
    result(HOSTILE, code=ErrorCode.NOT_FOUND),
]


def shards() -> Iterator[list[bytes]]:
    yield [RESULTS[0].encode()]
    yield [each.encode() for each in RESULTS[1:]]


def written(form: Format, selection: Selection = Selection()) -> bytes:  # noqa: B008  it is frozen
    file = io.BytesIO()
    write(shards(), file, form, selection)
    return file.getvalue()


def test_jsonl_is_what_was_stored() -> None:
    assert written(Format.JSONL) == b"".join(each.encode() + b"\n" for each in RESULTS)


def test_csv_has_a_row_per_face_and_one_for_an_image_without_a_face() -> None:
    rows = list(csv.DictReader(io.StringIO(written(Format.CSV).decode(), newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["uri"], row["face"], row["quality"], row["faces"]) for row in rows] == [
        ("s3://b/two.jpg", "0", "0.2", "2"),
        ("s3://b/two.jpg", "1", "0.8", "2"),
        ("s3://b/one.jpg", "0", "0.5", "1"),
        ("s3://b/none.jpg", "", "", "0"),
        (HOSTILE, "", "", "0"),
    ]
    assert (rows[0]["width"], rows[0]["box_x"], rows[0]["left_mouth_y"]) == ("640", "10.5", "10.5")
    assert (rows[4]["status"], rows[4]["error_code"], rows[4]["width"]) == ("failed", "not_found", "")


def test_parquet_has_the_same_rows_with_types(tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    with file.open("wb") as output:
        assert write(shards(), output, Format.PARQUET, Selection()) == 4
    table = pq.read_table(file)
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert [(row["uri"], row["face"], row["quality"]) for row in rows] == [
        ("s3://b/two.jpg", 0, 0.2),
        ("s3://b/two.jpg", 1, 0.8),
        ("s3://b/one.jpg", 0, 0.5),
        ("s3://b/none.jpg", None, None),
        (HOSTILE, None, None),
    ]
    with duckdb.connect() as connection:
        assert connection.read_parquet(str(file)).mean("quality").fetchall() == [(pytest.approx(0.5),)]


def test_measures_have_columns_if_the_job_asked_for_them(tmp_path: Path) -> None:
    measures = {"face_px": 115.25, "HeadPoseYaw": -2.6, "HeadPoseYaw.scalar": 100, "NaturalColour": None, "newer": 1.0}
    why = (Reason.BLURRED, Reason.TILTED)
    faces = (face(0.5).model_copy(update={"measures": measures, "reasons": why}), face(0.25))
    lines = [[RESULTS[1].model_copy(update={"faces": faces}).encode()]]
    text = io.BytesIO()
    write(lines, text, Format.CSV, Selection(), measures=True)
    first, second = csv.DictReader(io.StringIO(text.getvalue().decode(), newline=""))
    assert list(first) == [*COLUMNS, *MEASURE_COLUMNS]
    assert list(MEASURE_COLUMNS) == ["reasons", *MEASURES]
    assert (first["reasons"], first["HeadPoseYaw"], first["HeadPoseYaw.scalar"]) == ("blurred tilted", "-2.6", "100")
    assert (first["NaturalColour"], second["face_px"], second["reasons"]) == ("", "", "")
    with (tmp_path / "out.parquet").open("wb") as file:
        write(lines, file, Format.PARQUET, Selection(), measures=True)
    (row, _) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["reasons"], row["HeadPoseYaw"], row["NaturalColour"]) == ("blurred tilted", -2.6, None)
    text = io.BytesIO()
    write(lines, text, Format.CSV, Selection())
    assert text.getvalue().startswith(",".join(COLUMNS).encode() + b"\r\n")


def test_parquet_is_written_in_groups_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa.results.export._PARQUET_ROWS", 2)
    file = tmp_path / "out.parquet"
    with file.open("wb") as output:
        write(shards(), output, Format.PARQUET, Selection())
    assert pq.ParquetFile(file).num_row_groups == 2
    assert pq.ParquetFile(file).metadata.num_rows == 5


def test_a_file_without_selected_results_is_valid(tmp_path: Path) -> None:
    nothing = Selection(min_quality=2)
    assert written(Format.JSONL, nothing) == b""
    assert written(Format.CSV, nothing).count(b"\n") == 1
    file = tmp_path / "out.parquet"
    with file.open("wb") as output:
        assert write(shards(), output, Format.PARQUET, nothing) == 0
    assert pq.read_table(file).num_rows == 0


def test_the_error_for_parquet_without_pyarrow_is_one_line_that_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from fiqa.results.export import import_pyarrow\n"
        "try: import_pyarrow()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "MissingDependencyError Parquet needs pyarrow: pip install 'fiqa[parquet]'\n"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\uff1d1"])
def test_text_of_a_csv_is_never_a_formula(name: str) -> None:
    image = result("s3://b/a.jpg", code=ErrorCode.NOT_FOUND).model_copy(update={"id": name})
    file = io.BytesIO()
    write([[image.encode()]], file, Format.CSV, Selection())
    (row,) = csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))
    assert row["id"] == f"'{name}"
    assert row["uri"] == "s3://b/a.jpg"
