"""S3 Inventory: a manifest.json, and the CSV or Parquet files that it names, become a stream of items."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Any, Final

from pydantic import BaseModel, Field, ValidationError

from fiqa.contract import Item
from fiqa.errors import MissingDependencyError, SourceError
from fiqa.sources.csv_rows import csv_values
from fiqa.sources.left_out import DELETED_OBJECT, OLD_VERSION, SYSTEM_FILE, LeftOut, is_in_system_folder
from fiqa.sources.lines import (
    OnBadLine,
    Parse,
    is_image,
    object_item,
    read_lines,
    reading,
    unzipped,
    url_decoded,
    why,
)
from fiqa.sources.listing import ObjectReader
from fiqa.text import count

_MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
_ROWS_AT_ONCE: Final = 8192


class _DataFile(BaseModel):
    key: str
    size: int
    md5: Annotated[str | None, Field(alias="MD5checksum")] = None


class _Inventory(BaseModel):
    destination: Annotated[str, Field(alias="destinationBucket")]
    format: Annotated[str, Field(alias="fileFormat")]
    columns: Annotated[str, Field(alias="fileSchema")]
    files: list[_DataFile]


def read_inventory(file: IO[bytes], name: str, on_bad_line: OnBadLine, left_out: LeftOut) -> Iterator[Item]:
    """Stream the images of an inventory. Older versions, deleted objects and objects that are not images are skipped.

    Items have no version, so the newest version is scored, as with a prefix.

    Args:
        file: the manifest.json. Its data files are read from the bucket that it names, wherever the manifest itself is.
        name: what errors call the manifest.
        on_bad_line: called with an error for each row that names no object. If it returns, the stream continues.
        left_out: counts what is skipped.

    Raises:
        SourceError: this is not a manifest, its format is not supported, or a data file cannot be read or has changed.
        MissingDependencyError: the data files are Parquet, and pyarrow is not installed.
    """
    with reading(name):
        content = file.read(_MAX_MANIFEST_BYTES + 1)
    if len(content) > _MAX_MANIFEST_BYTES:
        raise SourceError(f"{name}: too large for an S3 Inventory manifest; a list of JSON lines ends in .jsonl")
    try:
        inventory = _Inventory.model_validate_json(content)
    except ValidationError as error:
        hint = "a list of JSON lines ends in .jsonl"
        raise SourceError(f"{name}: not an S3 Inventory manifest, {why(error)}; {hint}") from None
    read: Callable[[ObjectReader, _DataFile, OnBadLine, LeftOut], Iterator[Item]]
    if inventory.format == "CSV":
        read = _CsvFiles(name, inventory.columns).read
    elif inventory.format == "Parquet":
        read = _read_parquet
    else:
        raise SourceError(
            f"{name}: {inventory.format} files cannot be read: configure the inventory to be CSV or Parquet"
        )
    bucket = inventory.destination.rpartition(":")[2]
    for data in inventory.files:
        reader = ObjectReader(bucket, data.key)
        if reader.size != data.size:
            raise SourceError(
                f"{reader.name}: {count(reader.size, 'byte')}, but {data.size} in the manifest: was it replaced?"
            )
        yield from read(reader, data, on_bad_line, left_out)


class _CsvFiles:
    """CSV without a header row: the manifest names the columns. Keys are URL-encoded."""

    def __init__(self, name: str, schema: str) -> None:
        self._columns = [column.strip().lower() for column in schema.split(",")]
        if not {"bucket", "key"} <= set(self._columns):
            raise SourceError(f"{name}: fileSchema {schema[:200]!r} lacks Bucket or Key")

    def read(self, reader: ObjectReader, data: _DataFile, on_bad_line: OnBadLine, left_out: LeftOut) -> Iterator[Item]:
        digested = _Digested(reader)
        file: IO[bytes] = io.BufferedReader(digested, 1024 * 1024)
        with reading(reader.name):
            content = unzipped(file) if data.key.endswith(".gz") else file
            yield from read_lines(content, reader.name, self._parse(left_out), on_bad_line)
        if data.md5 and digested.md5.hexdigest() != data.md5.lower():
            raise SourceError(f"{reader.name}: its MD5 is not the one in the manifest: was it replaced?")

    def _parse(self, left_out: LeftOut) -> Parse:
        columns = len(self._columns)
        bucket_at, key_at = self._columns.index("bucket"), self._columns.index("key")
        unwanted = [
            (self._columns.index(column), value, kind)
            for column, value, kind in (
                ("islatest", "false", OLD_VERSION),
                ("isdeletemarker", "true", DELETED_OBJECT),
            )
            if column in self._columns
        ]

        def parse(text: str) -> Item | None:
            values = csv_values(text)
            if len(values) != columns:
                raise ValueError(f"{count(len(values), 'column')}, but {columns} in the manifest's fileSchema")
            key = values[key_at]
            for at, value, kind in unwanted:
                if values[at].lower() == value:
                    left_out.add(kind)
                    return None
            if not _is_taken(key if "%" not in key else url_decoded(key), left_out):
                return None
            return object_item(values[bucket_at], url_decoded(key))

        return parse


class _Digested(io.RawIOBase):
    """A file that computes the MD5 of what is read."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file
        self.md5 = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self.md5.update(memoryview(buffer)[:count])
        return count


def _is_taken(key: str, left_out: LeftOut) -> bool:
    if is_in_system_folder(key):
        left_out.add(SYSTEM_FILE)
        return False
    if is_image(key):
        return True
    if key and not key.endswith("/"):  # a key with a slash at its end stands for a folder
        left_out.add_file(key)
    return False


def _read_parquet(reader: ObjectReader, data: _DataFile, on_bad_line: OnBadLine, left_out: LeftOut) -> Iterator[Item]:
    """Read one row group after the other, and only the columns that are needed. So the MD5 cannot be checked."""
    del data
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415  the same
    except ModuleNotFoundError:
        raise MissingDependencyError(f"{reader.name} is Parquet: pip install 'fiqa[parquet]'") from None

    row = 0
    try:
        file = parquet.ParquetFile(io.BufferedReader(reader), pre_buffer=False)
        missing = {"bucket", "key"} - set(file.schema_arrow.names)
        if missing:
            raise SourceError(f"{reader.name}: there is no column {' or '.join(sorted(missing))}")
        for batch in _batches(file):
            values = {column: batch.column(column) for column in batch.schema.names}
            nothing = pa.nulls(len(batch))
            for bucket, key, latest, deleted in zip(
                values["bucket"].cast("string").to_pylist(),
                values["key"].cast("string").to_pylist(),
                values.get("is_latest", nothing).to_pylist(),
                values.get("is_delete_marker", nothing).to_pylist(),
                strict=True,
            ):
                row += 1
                if latest is False or deleted:
                    left_out.add(OLD_VERSION if latest is False else DELETED_OBJECT)
                    continue
                if not _is_taken(key or "", left_out):
                    continue
                try:
                    item = object_item(bucket or "", key)
                except ValueError as error:
                    on_bad_line(SourceError(f"{reader.name}, row {row}: {why(error)}"))
                else:
                    yield item
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{reader.name}: {why(error)}") from error


def _batches(file: Any) -> Iterator[Any]:
    # One row group at a time: if asked for all of them, pyarrow reads in advance without a limit.
    for group in range(file.num_row_groups):
        columns = ["bucket", "key", "is_latest", "is_delete_marker"]
        yield from file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns)
