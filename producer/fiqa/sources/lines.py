"""Lines to items: what a line of a list and a row of CSV may say. A line that is no item is reported, and left out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeAlias
from urllib.parse import unquote_plus

from pydantic import ValidationError

from fiqa.contract import Item
from fiqa.errors import SourceError
from fiqa.s3 import BUCKET_NAME

# What workers can decode; other objects of a prefix and files of a folder are no images and are left out.
IMAGE_SUFFIXES: Final = (".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_LONGEST_SUFFIX: Final = max(map(len, IMAGE_SUFFIXES))
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# A slash or two too few. A file that is really called so is ./s3:...
_HALF_A_SCHEME: Final = re.compile(r"(s3|file):(?!//)", re.IGNORECASE)
_WHOLE: Final = {"s3": "s3://bucket/key", "file": "file:///path"}
_MAX_LINE_BYTES: Final = 64 * 1024
_BATCH_COLUMNS: Final = (2, 3)

OnBadLine: TypeAlias = Callable[[SourceError], None]
# A line's text to its item; None: it names nothing to score. ValueError or RuntimeError: it is a bad line.
Parse: TypeAlias = Callable[[str], Item | None]


def is_image(name: str) -> bool:
    """Whether a name ends as an image's does."""
    return name[-_LONGEST_SUFFIX:].lower().endswith(IMAGE_SUFFIXES)


def is_uri(text: str) -> bool:
    """Whether it begins with a scheme; a path does not."""
    return _SCHEME.match(text) is not None


def checked_uri(uri: str) -> str:
    """The same.

    Raises:
        ValueError: workers cannot read what is there.
    """
    if not uri.startswith(("s3://", "file:///")):
        scheme = uri.partition("://")[0]
        raise ValueError(f"workers read s3:// and file:///, and no {scheme[:20]}://")
    return uri


def read_lines(file: IO[bytes], name: str, parse: Parse, on_bad_line: OnBadLine) -> Iterator[Item]:
    """The items of the lines, which are UTF-8 and at most 64 KiB, streamed.

    Args:
        file: from its beginning.
        name: of the source, for what is reported.
        parse: told of each line without the spaces around it, unless it is empty.
        on_bad_line: told of each line that is no item; the stream goes on, unless it raises.
    """
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        try:
            if len(line) > _MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(_MAX_LINE_BYTES)
                raise ValueError(f"longer than {_MAX_LINE_BYTES} bytes")  # noqa: TRY301  reported as all the others
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            item = parse(text) if text else None
        except (ValueError, RuntimeError, csv.Error) as error:
            on_bad_line(SourceError(f"{name}, line {number}: {why(error)}"))
        else:
            if item is not None:
                yield item


def list_line(text: str) -> Item | None:
    """A URI, a path, or a JSON object with `uri` or `source-ref`, and `id`; # begins a comment."""
    if text.startswith("#"):
        return None
    if not text.startswith("{"):
        if text.startswith(("[", '"')) and _is_json(text):  # a path may begin with either
            raise ValueError("a JSON line is an object with `uri` or `source-ref`")
        return Item(uri=_uri(text))
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        # Its own text counts lines too, and always says line 1.
        what = f"{error.msg[0].lower()}{error.msg[1:].removesuffix(' at')}"
        raise ValueError(f"not JSON: {what} at character {error.pos + 1}") from None
    where = fields.get("uri", fields.get("source-ref"))
    if not isinstance(where, str) or not where:
        raise ValueError("a JSON line needs `uri` or `source-ref`, a string")
    own_id = fields.get("id")
    return Item(uri=_uri(where), id=str(own_id) if isinstance(own_id, int) else own_id)


def batch_row(text: str) -> Item | None:
    """A row of S3 Batch Operations: bucket, URL-encoded key and perhaps the version. A row of titles is left out."""
    values = csv_values(text)
    if len(values) not in _BATCH_COLUMNS:
        hint = "a list of URIs ends in .txt" if len(values) == 1 else "of S3 Inventory pass the manifest.json"
        raise ValueError(f"{len(values)} columns, not Bucket,Key or Bucket,Key,VersionId: {hint}")
    if values[0].lower() == "bucket" and values[1].lower() == "key":
        return None
    return object_item(values[0], url_decoded(values[1]), values[2] if len(values) > _BATCH_COLUMNS[0] else None)


def csv_values(text: str) -> list[str]:
    """One row of CSV; quotes as in RFC 4180."""
    return next(csv.reader((text,), strict=True)) if '"' in text else text.split(",")


def url_decoded(key: str) -> str:
    """A key as Amazon writes it into CSV, where + is a space, to the key."""
    return unquote_plus(key, errors="strict")


def object_item(bucket: str, key: str, version: str | None = None) -> Item:
    """The item of an object in S3.

    Raises:
        ValueError: there can be no such object.
    """
    if not BUCKET_NAME.fullmatch(bucket):
        raise ValueError(f"{bucket[:100]!r} cannot be a bucket")
    if not key:
        raise ValueError("the key is empty")
    return Item(uri=_without_nul(f"s3://{bucket}/{key}"), version=version or None)


def why(error: Exception) -> str:
    """What is wrong with a line or a file, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return " ".join(str(error).split())


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever makes a file unreadable becomes a SourceError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def unzipped(file: IO[bytes]) -> IO[bytes]:
    """What is in a gzipped file. Reading raises OSError, EOFError or zlib.error where it is damaged."""
    return io.BufferedReader(gzip.GzipFile(fileobj=file))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _uri(text: str) -> str:
    text = _without_nul(text)
    if half := _HALF_A_SCHEME.match(text):
        raise ValueError(f"{half[0]} without // after it: write {_WHOLE[half[1].lower()]}")
    return checked_uri(text) if is_uri(text) else Path(text).resolve().as_uri()


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL byte: is the file UTF-16?")
    return text
