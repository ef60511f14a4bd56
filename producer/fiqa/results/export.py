"""Results to JSONL, CSV and Parquet, as they come."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from fiqa.contract import Face, ImageResult
from fiqa.errors import MissingDependencyError
from fiqa.measures import MEASURES
from fiqa.results.selection import Selection

# Rows per row group: enough to compress well, and few enough to hold in memory.
_PARQUET_ROWS: Final = 50_000
_LANDMARKS: Final = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")

# Spreadsheets read text that begins with one of these as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# The columns of CSV and Parquet. Each face has a row, and so has each image without a face.
COLUMNS: Final[dict[str, type]] = {
    "uri": str,
    "id": str,
    "version": str,
    "status": str,
    "error_code": str,
    "error_message": str,
    "width": int,
    "height": int,
    "faces": int,
    "faces_left_out": int,
    "face": int,
    "quality": float,
    "confidence": float,
    "turned": int,
    "box_x": float,
    "box_y": float,
    "box_width": float,
    "box_height": float,
    **{f"{name}_{axis}": float for name in _LANDMARKS for axis in "xy"},
    "detector": str,
    "quality_model": str,
    "ms": float,
}
# Those of a job with measures follow.
MEASURE_COLUMNS: Final[dict[str, type]] = {
    "reasons": str,
    **dict.fromkeys(MEASURES, float),
}


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


# The format of each suffix. Parquet is compressed inside.
SUFFIXES: Final = {
    ".jsonl": (Format.JSONL, False),
    ".jsonl.gz": (Format.JSONL, True),
    ".csv": (Format.CSV, False),
    ".csv.gz": (Format.CSV, True),
    ".parquet": (Format.PARQUET, False),
}


def format_of(file: Path) -> tuple[Format, bool] | None:
    """Return the format that a file's suffix names, and whether the file is gzipped; None for another suffix."""
    suffixes = "".join(file.suffixes[-2:]).lower()
    return SUFFIXES.get(suffixes) or SUFFIXES.get(file.suffix.lower())


def write(
    shards: Iterable[list[bytes]], file: IO[bytes], file_format: Format, selection: Selection, *, measures: bool = False
) -> int:
    """Write shards as they come.

    Args:
        shards: results as JSON lines, one list per shard.
        file: a binary file.
        file_format: JSONL has a line per image. CSV and Parquet have a row per face, and one if there is no face.
        selection: the results and faces to write.
        measures: whether CSV and Parquet have columns for the measures and the reasons.

    Returns:
        The number of images written.

    Raises:
        MissingDependencyError: the format is Parquet, and pyarrow is not installed.
    """
    columns = {**COLUMNS, **MEASURE_COLUMNS} if measures else COLUMNS
    if file_format is Format.PARQUET:
        return _write_parquet(shards, file, selection, columns)
    encode = partial(_csv_rows, columns) if file_format is Format.CSV else _lines
    if file_format is Format.CSV:
        file.write((",".join(columns) + "\r\n").encode())
    written = 0
    if file_format is Format.JSONL and selection.is_all:
        for lines in shards:
            file.writelines(line + b"\n" for line in lines)
            written += len(lines)
            file.flush()
        return written
    for results in selection.batches(shards):
        file.write(encode(results))
        written += len(results)
        file.flush()
    return written


def _lines(results: Iterable[ImageResult]) -> bytes:
    return b"".join(result.encode() + b"\n" for result in results)


def _csv_rows(columns: Mapping[str, type], results: Iterable[ImageResult]) -> bytes:
    text = io.StringIO()
    rows = csv.DictWriter(text, columns, extrasaction="ignore")
    rows.writerows({title: _cell(value) for title, value in row.items()} for result in results for row in _rows(result))
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Return text that spreadsheets do not run as a formula: an apostrophe before it says that it is text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _rows(result: ImageResult) -> Iterator[dict[str, Any]]:
    image = {
        "uri": result.uri,
        "id": result.id,
        "version": result.version,
        "status": str(result.status),
        "error_code": str(result.error.code) if result.error else None,
        "error_message": result.error.message if result.error else None,
        "width": result.image.width if result.image else None,
        "height": result.image.height if result.image else None,
        "faces": len(result.faces),
        "faces_left_out": result.faces_left_out,
        "detector": result.detector,
        "quality_model": result.quality_model,
        "ms": result.ms,
    }
    if not result.faces:
        yield image
    for number, face in enumerate(result.faces):
        yield {**image, "face": number, **_face_columns(face)}


def _face_columns(face: Face) -> dict[str, Any]:
    x, y, width, height = face.box
    points = {
        f"{name}_{axis}": value
        for name, point in zip(_LANDMARKS, face.landmarks, strict=True)
        for axis, value in zip("xy", point, strict=True)
    }
    box = {"box_x": x, "box_y": y, "box_width": width, "box_height": height}
    why = {} if face.reasons is None else {"reasons": " ".join(face.reasons)}
    face_columns = {"quality": face.quality, "confidence": face.confidence, "turned": face.turned, **box, **points}
    return {**face_columns, **why, **(face.measures or {})}


def _write_parquet(
    shards: Iterable[list[bytes]], file: IO[bytes], selection: Selection, columns: Mapping[str, type]
) -> int:
    pa, pq = import_pyarrow()
    types: dict[type, Callable[[], Any]] = {str: pa.string, int: pa.int32, float: pa.float64}
    schema = pa.schema([(name, types[kind]()) for name, kind in columns.items()])
    written = 0
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        for results in selection.batches(shards):
            written += len(results)
            rows += [row for result in results for row in _rows(result)]
            if len(rows) >= _PARQUET_ROWS:
                flush()
        if rows:
            flush()
    return written


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    # Imported only for Parquet: it is larger than all other packages together.
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'fiqa[parquet]'") from error
    return pa, pq
