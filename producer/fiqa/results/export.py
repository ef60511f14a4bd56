"""Results to JSONL, CSV and Parquet, as they come, and which of them: by status, by quality, the best face only."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

from fiqa.contract import Face, ImageResult, Status
from fiqa.errors import SettingsError

# Of a row group: large enough to compress well, small enough to hold.
_PARQUET_ROWS: Final = 50_000
_LANDMARKS: Final = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")

# A column of the tables, CSV and Parquet: a row a face, and one row for an image without any.
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
    "face": int,
    "quality": float,
    "confidence": float,
    "box_x": float,
    "box_y": float,
    "box_width": float,
    "box_height": float,
    **{f"{name}_{axis}": float for name in _LANDMARKS for axis in "xy"},
    "detector": str,
    "quality_model": str,
    "ms": float,
}


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"

    @classmethod
    def of(cls, file: Path | None) -> Format:
        """The one that a file's ending names; JSONL where it names none."""
        ending = "" if file is None else file.suffix.lower().removeprefix(".")
        return cls(ending) if ending in set(cls) else cls.JSONL


@dataclass(frozen=True, slots=True)
class Selection:
    """Which results, and which of their faces.

    Attributes:
        status: only images that ended so; None: all.
        best: of an image only the face of the highest quality.
        min_quality: only faces of at least this, and images that have one. After `best`, as max_quality is: with both,
            images whose best face is within the range.
        max_quality: only faces of at most this, and images that have one.
    """

    status: Status | None = None
    best: bool = False
    min_quality: float | None = None
    max_quality: float | None = None

    @property
    def is_all(self) -> bool:
        return self == Selection()

    def of(self, result: ImageResult) -> ImageResult | None:
        """What is selected of one image; None: nothing."""
        if self.status is not None and result.status is not self.status:
            return None
        faces = result.faces
        if self.best and faces:
            faces = (max(faces, key=lambda face: face.quality),)
        if self.min_quality is not None or self.max_quality is not None:
            faces = tuple(face for face in faces if self._is_within(face.quality))
            if not faces:
                return None
        return result if faces == result.faces else result.model_copy(update={"faces": faces})

    def results(self, lines: Iterable[bytes]) -> Iterator[ImageResult]:
        """What is selected of a shard's JSON lines."""
        for line in lines:
            result = self.of(ImageResult.decode(line))
            if result is not None:
                yield result

    def _is_within(self, quality: float) -> bool:
        above = self.min_quality is None or quality >= self.min_quality
        return above and (self.max_quality is None or quality <= self.max_quality)


def write(shards: Iterable[list[bytes]], file: IO[bytes], form: Format, selection: Selection) -> int:
    """Write shards as they come; returns the number of images.

    Args:
        shards: JSON lines of results, a shard at a time.
        file: binary.
        form: JSONL has a line an image, the others a row a face and one for an image without a face.
        selection: what of it.

    Raises:
        SettingsError: Parquet is wanted and pyarrow is not there.
    """
    if form is Format.PARQUET:
        return _write_parquet(shards, file, selection)
    encode = _csv_rows if form is Format.CSV else _lines
    if form is Format.CSV:
        file.write((",".join(COLUMNS) + "\r\n").encode())
    written = 0
    for lines in shards:
        if form is Format.JSONL and selection.is_all:
            file.writelines(line + b"\n" for line in lines)
            written += len(lines)
        else:
            results = list(selection.results(lines))
            file.write(encode(results))
            written += len(results)
        file.flush()
    return written


def _lines(results: Iterable[ImageResult]) -> bytes:
    return b"".join(result.encode() + b"\n" for result in results)


def _csv_rows(results: Iterable[ImageResult]) -> bytes:
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS)
    rows.writerows(row for result in results for row in _rows(result))
    return text.getvalue().encode()


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
        "detector": result.detector,
        "quality_model": result.quality_model,
        "ms": result.ms,
    }
    if not result.faces:
        yield image
    for number, face in enumerate(result.faces):
        yield {**image, "face": number, **_face_columns(face)}


def _face_columns(face: Face) -> dict[str, float]:
    x, y, width, height = face.box
    points = {
        f"{name}_{axis}": value
        for name, point in zip(_LANDMARKS, face.landmarks, strict=True)
        for axis, value in zip("xy", point, strict=True)
    }
    box = {"box_x": x, "box_y": y, "box_width": width, "box_height": height}
    return {"quality": face.quality, "confidence": face.confidence, **box, **points}


def _write_parquet(shards: Iterable[list[bytes]], file: IO[bytes], selection: Selection) -> int:
    pa, pq = import_pyarrow()
    types: dict[type, Callable[[], Any]] = {str: pa.string, int: pa.int32, float: pa.float64}
    schema = pa.schema([(name, types[kind]()) for name, kind in COLUMNS.items()])
    written = 0
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        for lines in shards:
            results = list(selection.results(lines))
            written += len(results)
            rows += [row for result in results for row in _rows(result)]
            if len(rows) >= _PARQUET_ROWS:
                flush()
        if rows:
            flush()
    return written


def import_pyarrow() -> tuple[Any, Any]:
    """Pyarrow and pyarrow.parquet.

    Raises:
        SettingsError: it is not installed.
    """
    # Only for those who want it: it is larger than all the rest together.
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError("Parquet needs pyarrow: pip install 'fiqa[parquet]'") from error
    return pa, pq
