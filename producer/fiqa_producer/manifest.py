"""Sources (folder, image file, list, JSONL, S3 prefix, standard input) to a stream of image items.

Nothing here holds a source whole, except the names of one folder, which are sorted.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from fiqa_producer.contract import Item
from fiqa_producer.errors import SourceError
from fiqa_producer.s3 import list_objects

STDIN: Final = "-"
# What workers can decode; other files of a folder or a prefix are no images and are left out.
IMAGE_SUFFIXES: Final = frozenset({".avif", ".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LIST_SUFFIXES: Final = frozenset({".txt", ".lst", ".list", ".jsonl", ".ndjson"})
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_MAX_LINE_BYTES: Final = 64 * 1024

# Small chunks first, so that a job of a hundred photos uses every worker; large ones later, so that one of ten
# million wastes nothing.
_FIRST_CHUNK: Final = 16
_LAST_CHUNK: Final = 256
_CHUNKS_OF_A_SIZE: Final = 8

OnBadLine = Callable[[SourceError], None]


def read(sources: Sequence[str], *, on_bad_line: OnBadLine) -> Iterator[Item]:
    """Every image of every source, streamed.

    Args:
        sources: folders (recursive), image files, lists (.txt, .jsonl, each also .gz), s3://bucket/prefix/, or `-`.
        on_bad_line: told of each line that is no item; the stream goes on, unless it raises.

    Raises:
        SourceError: a source cannot be read, or is none of these.
    """
    for source in sources:
        yield from _read_one(source, on_bad_line)


def chunked(items: Iterable[Item], *, size: int | None = None) -> Iterator[list[Item]]:
    """Cut a stream into chunks: of `size`, or growing from 16 to 256."""
    target = size or _FIRST_CHUNK
    made = 0
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == target:
            yield chunk
            chunk = []
            made += 1
            if size is None and made % _CHUNKS_OF_A_SIZE == 0:
                target = min(2 * target, _LAST_CHUNK)
    if chunk:
        yield chunk


def _read_one(source: str, on_bad_line: OnBadLine) -> Iterator[Item]:
    if source == STDIN:
        if sys.stdin is None:
            raise SourceError("standard input is closed: pipe a list into it")
        yield from _read_lines(sys.stdin.buffer, "standard input", on_bad_line)
    elif source.startswith("s3://"):
        yield from _read_s3(source)
    elif _SCHEME.match(source):
        raise SourceError(f"{source}: only s3:// can be listed; put single URIs into a .txt list, or on standard input")
    else:
        yield from _read_path(Path(source), on_bad_line)


def _read_path(path: Path, on_bad_line: OnBadLine) -> Iterator[Item]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[:-1][-1:] if compressed else suffixes[-1:])
    with _reading(path):
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    if is_folder:
        yield from _read_folder(path.resolve())
    elif kind in _LIST_SUFFIXES:
        with _reading(path), gzip.open(path) if compressed else path.open("rb") as file:
            yield from _read_lines(file, str(path), on_bad_line)
    elif kind in IMAGE_SUFFIXES and not compressed:
        yield _listed(path.resolve().as_uri())
    else:
        raise SourceError(f"{path}: neither a folder, nor an image, nor a list (.txt or .jsonl, also .gz)")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _read_folder(folder: Path) -> Iterator[Item]:
    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield _listed(Path(parent, name).as_uri())


def _read_s3(source: str) -> Iterator[Item]:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    if not bucket:
        raise SourceError(f"{source}: names no bucket: s3://bucket/prefix/")
    if key and not key.endswith("/"):
        if Path(key).suffix.lower() not in IMAGE_SUFFIXES:
            raise SourceError(f"{source}: not an image; a prefix ends in a slash: {source}/")
        yield _listed(source)
        return
    for found in list_objects(bucket, key):
        if Path(found).suffix.lower() in IMAGE_SUFFIXES:
            yield _listed(f"s3://{bucket}/{found}")


def _listed(uri: str) -> Item:
    try:
        return Item(uri=uri)
    except ValidationError as error:
        raise SourceError(f"{uri[:100]}...: {_why(error)}") from None


def _read_lines(file: IO[bytes] | gzip.GzipFile, name: str, on_bad_line: OnBadLine) -> Iterator[Item]:
    """One item a line: a URI, a path, or a JSON object with `uri` or `source-ref`, and `id`."""
    lines = io.BufferedReader(file) if isinstance(file, gzip.GzipFile) else file
    number = 0
    while line := lines.readline(_MAX_LINE_BYTES + 1):
        number += 1
        try:
            if len(line) > _MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = lines.readline(_MAX_LINE_BYTES)
                raise ValueError(f"longer than {_MAX_LINE_BYTES} bytes")  # noqa: TRY301  reported as all the others
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text and not text.startswith("#"):
                yield _item(text)
        except (ValueError, RuntimeError) as error:
            on_bad_line(SourceError(f"{name}, line {number}: {_why(error)}"))


def _item(text: str) -> Item:
    if not text.startswith("{"):
        return Item(uri=_uri(text))
    fields = json.loads(text)
    where = fields.get("uri", fields.get("source-ref"))
    if not isinstance(where, str) or not where:
        raise ValueError("a JSON line needs `uri` or `source-ref`, a string")
    own_id = fields.get("id")
    return Item(uri=_uri(where), id=str(own_id) if isinstance(own_id, int) else own_id)


def _uri(text: str) -> str:
    return text if _SCHEME.match(text) else Path(text).resolve().as_uri()


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error)
