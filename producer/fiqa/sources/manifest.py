"""Sources named by strings: a folder, an image, a list, a CSV, an S3 Inventory, an S3 prefix, or standard input.

Sources are streamed. Only the names in one folder are held in memory, to sort them.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final
from urllib.parse import unquote_to_bytes

from pydantic import ValidationError

from fiqa.contract import Item
from fiqa.errors import SourceError
from fiqa.s3_uri import advice_for
from fiqa.sources.csv_rows import CsvRows
from fiqa.sources.folder import image_files
from fiqa.sources.inventory import read_inventory
from fiqa.sources.left_out import SYSTEM_FILE, LeftOut, is_in_system_folder
from fiqa.sources.lines import OnBadLine, is_image, is_uri, list_line, read_lines, reading, unzipped, why
from fiqa.sources.listing import ObjectReader, list_objects
from fiqa.text import has_credentials, without_secrets

STDIN: Final = "-"
_LISTS: Final = frozenset({".txt", ".lst", ".list", ".jsonl", ".ndjson"})
_TABLES: Final = frozenset({".csv", ".tsv"})
_FILES: Final = _LISTS | _TABLES | {".json"}
_GZIP_BEGINS: Final = b"\x1f\x8b"
_WHAT_IT_MAY_BE: Final = (
    "nor a list (.txt, .jsonl), a CSV of Bucket,Key or an S3 Inventory manifest.json (each also .gz)"
)


def read_source(
    sources: str | Sequence[str], *, on_bad_line: OnBadLine, left_out: LeftOut | None = None
) -> Iterator[Item]:
    """Stream an item for every image of a source, or of several.

    Args:
        sources: folders (recursive), image files, s3://bucket/prefix/, `-` for a list on standard input, or files:
            lists (.txt, .jsonl), CSV of S3 Batch Operations (.csv), manifest.json of S3 Inventory. Each file may also
            be gzipped (.gz), and may be in S3.
        on_bad_line: called with an error for each line that is not an item. If it returns, the stream continues.
        left_out: counts what is left out of folders, prefixes and inventories: other files, linked folders, and so on.

    Raises:
        SourceError: a source cannot be read, is not one of these, or changed while it was read.
    """
    for source in [sources] if isinstance(sources, str) else sources:
        yield from _read_one(source, on_bad_line, left_out or LeftOut())


def _read_one(source: str, on_bad_line: OnBadLine, left_out: LeftOut) -> Iterator[Item]:
    if source == STDIN:
        yield from _read_stdin(on_bad_line)
    elif source.startswith("s3://"):
        yield from _read_s3(source, on_bad_line, left_out)
    elif source.startswith("file:///"):
        yield from _read_path(
            Path(os.fsdecode(unquote_to_bytes(source.removeprefix("file://")))), on_bad_line, left_out
        )
    elif is_uri(source) or source.startswith("file:"):
        shown = without_secrets(source)
        if source.startswith("file:"):
            advice = "write file:///path"
        else:
            advice = advice_for(shown) or "workers read s3:// and files: download the images, or copy them to S3"
        raise SourceError(f"{shown}: {advice}")
    else:
        yield from _read_path(Path(source), on_bad_line, left_out)


def _read_stdin(on_bad_line: OnBadLine) -> Iterator[Item]:
    if sys.stdin is None:
        raise SourceError("standard input is closed: pipe a list into it")
    file: IO[bytes] = sys.stdin.buffer
    with reading("standard input"):
        # It has no name, so only its first bytes show whether it is gzip. peek() leaves them to be read.
        if isinstance(file, io.BufferedReader) and file.peek(2).startswith(_GZIP_BEGINS):
            file = unzipped(file)
        yield from read_lines(file, "standard input", list_line, on_bad_line)


def _read_path(path: Path, on_bad_line: OnBadLine, left_out: LeftOut) -> Iterator[Item]:
    kind, is_zipped = _kind(path.name)
    with reading(str(path)):
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    if is_folder:
        for found in image_files(path.resolve(), left_out):
            yield _listed(found.as_uri())
    elif kind in _FILES:
        with reading(str(path)), _unchanged(path) as file:
            yield from _read_file(unzipped(file) if is_zipped else file, str(path), kind, on_bad_line, left_out)
    elif is_image(path.name):
        yield _listed(path.resolve().as_uri())
    else:
        raise SourceError(f"{path}: neither a folder, nor an image, {_WHAT_IT_MAY_BE}")


def _read_s3(  # noqa: C901  each kind of source is one branch
    source: str, on_bad_line: OnBadLine, left_out: LeftOut
) -> Iterator[Item]:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    kind, is_zipped = _kind(key)
    if has_credentials(source):
        raise SourceError(f"{without_secrets(source)}: credentials are not a part of a URI: set AWS_ACCESS_KEY_ID")
    if not bucket:
        raise SourceError(f"{source}: it names no bucket: s3://bucket/prefix/")
    if advice := advice_for(source):
        raise SourceError(f"{source}: {advice}")
    if not key or key.endswith("/"):
        for found in list_objects(bucket, key):
            if is_in_system_folder(found[len(key) :]):
                left_out.add(SYSTEM_FILE)
            elif is_image(found):
                yield _listed(f"s3://{bucket}/{found}")
            elif not found.endswith("/"):  # a key with a slash at its end stands for a folder
                left_out.add_file(found)
    elif kind in _FILES:
        file = io.BufferedReader(ObjectReader(bucket, key), 1024 * 1024)
        with reading(source):
            yield from _read_file(unzipped(file) if is_zipped else file, source, kind, on_bad_line, left_out)
    elif is_image(key):
        yield _listed(source)
    else:
        shown = without_secrets(source)
        raise SourceError(f"{shown}: neither an image, {_WHAT_IT_MAY_BE}; a prefix ends in a slash: {shown}/")


def _read_file(file: IO[bytes], name: str, kind: str, on_bad_line: OnBadLine, left_out: LeftOut) -> Iterator[Item]:
    if kind == ".json":
        yield from read_inventory(file, name, on_bad_line, left_out)
    else:
        yield from read_lines(file, name, CsvRows() if kind in _TABLES else list_line, on_bad_line)


def _kind(name: str) -> tuple[str, bool]:
    """Return the suffix in lower case, and whether .gz follows it."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    is_zipped = suffixes[-1:] == [".gz"]
    return "".join(suffixes[:-1][-1:] if is_zipped else suffixes[-1:]), is_zipped


@contextmanager
def _unchanged(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        yield file
        after = os.fstat(file.fileno())
        if stat.S_ISREG(before.st_mode) and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceError(f"{path}: it changed while it was read: begin again")


def _listed(uri: str) -> Item:
    try:
        return Item(uri=uri)
    except ValidationError as error:
        raise SourceError(f"{without_secrets(uri)[:100]}...: {why(error)}") from None
