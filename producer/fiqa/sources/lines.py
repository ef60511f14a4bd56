"""Lines to items: what a line of a list or a row of CSV can hold. Lines that are not items are reported and skipped."""

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
from fiqa.errors import SourceError, first_problem
from fiqa.s3 import BUCKET_NAME
from fiqa.s3_uri import advice_for

# What workers can decode. Other objects of a prefix, and other files of a folder, are skipped.
IMAGE_SUFFIXES: Final = (".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_LONGEST_SUFFIX: Final = max(map(len, IMAGE_SUFFIXES))
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# A URI that lacks one slash or both. Write ./s3:... for a file of such a name.
_HALF_A_SCHEME: Final = re.compile(r"(s3|file):(?!//)", re.IGNORECASE)
_WHOLE: Final = {"s3": "s3://bucket/key", "file": "file:///path"}
_MAX_LINE_BYTES: Final = 64 * 1024
_BATCH_COLUMNS: Final = (2, 3)

OnBadLine: TypeAlias = Callable[[SourceError], None]
# Returns the item of a line; None if the line holds nothing to score. Raises ValueError or RuntimeError for a bad line.
Parse: TypeAlias = Callable[[str], Item | None]


def is_image(name: str) -> bool:
    """Return whether a name has the suffix of an image."""
    return name[-_LONGEST_SUFFIX:].lower().endswith(IMAGE_SUFFIXES)


def is_uri(text: str) -> bool:
    """Return whether a text begins with a scheme. A path does not."""
    return _SCHEME.match(text) is not None


def checked_uri(uri: str) -> str:
    """Return a URI if workers can read its scheme.

    Raises:
        ValueError: they cannot.
    """
    advice = advice_for(uri)
    if not uri.startswith(("s3://", "file:///")):
        scheme = uri.partition("://")[0]
        raise ValueError(f"workers read s3:// and file:///, not {scheme[:20]}://{advice and f': {advice}'}")
    if advice:
        raise ValueError(advice)
    return uri


def read_lines(file: IO[bytes], name: str, parse: Parse, on_bad_line: OnBadLine) -> Iterator[Item]:
    """Stream the items of a file of lines. A line is UTF-8 and at most 64 KiB long.

    Args:
        file: positioned at its beginning.
        name: what errors call the file.
        parse: called with each line that is not empty, without the spaces around it.
        on_bad_line: called with an error for each line that is not an item. If it returns, the stream continues.
    """
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        try:
            if len(line) > _MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(_MAX_LINE_BYTES)
                raise ValueError(f"longer than {_MAX_LINE_BYTES} bytes")  # noqa: TRY301  reported like the other errors
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            item = parse(text) if text else None
        except (ValueError, RuntimeError, csv.Error) as error:
            on_bad_line(SourceError(f"{name}, line {number}: {why(error)}"))
        else:
            if item is not None:
                yield item


def list_line(text: str) -> Item | None:
    """Parse a URI, a path, or a JSON object with `uri` or `source-ref`, and perhaps `id`. A # begins a comment."""
    if text.startswith("#"):
        return None
    if not text.startswith("{"):
        if text.startswith(("[", '"')) and _is_json(text):  # a path may also begin with these
            raise ValueError("a JSON line is an object with `uri` or `source-ref`")
        return Item(uri=_uri(text))
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        # The error's own text has a line number too, which is always 1.
        what = f"{error.msg[0].lower()}{error.msg[1:].removesuffix(' at')}"
        raise ValueError(f"not JSON: {what} at character {error.pos + 1}") from None
    where = fields.get("uri", fields.get("source-ref"))
    if not isinstance(where, str) or not where:
        raise ValueError("a JSON line needs `uri` or `source-ref`, a string")
    own_id = fields.get("id")
    return Item(uri=_uri(where), id=str(own_id) if isinstance(own_id, int) else own_id)


def batch_row(text: str) -> Item | None:
    """Parse a row of S3 Batch Operations: bucket, URL-encoded key and perhaps a version. A header row is skipped."""
    values = csv_values(text)
    if len(values) not in _BATCH_COLUMNS:
        hint = "a list of URIs ends in .txt" if len(values) == 1 else "for an S3 Inventory pass its manifest.json"
        raise ValueError(f"{len(values)} columns, not Bucket,Key or Bucket,Key,VersionId: {hint}")
    if values[0].lower() == "bucket" and values[1].lower() == "key":
        return None
    return object_item(values[0], url_decoded(values[1]), values[2] if len(values) > _BATCH_COLUMNS[0] else None)


def csv_values(text: str) -> list[str]:
    """Split a row of CSV, with quotes as in RFC 4180."""
    return next(csv.reader((text,), strict=True)) if '"' in text else text.split(",")


def url_decoded(key: str) -> str:
    """Decode a key as Amazon writes it into CSV: + is a space."""
    return unquote_plus(key, errors="strict")


def object_item(bucket: str, key: str, version: str | None = None) -> Item:
    """Return the item of an object in S3.

    Raises:
        ValueError: no object can have this bucket or key.
    """
    if not BUCKET_NAME.fullmatch(bucket):
        raise ValueError(f"{bucket[:100]!r} cannot be a bucket")
    if not key:
        raise ValueError("the key is empty")
    return Item(uri=_without_nul(f"s3://{bucket}/{key}"), version=version or None)


def why(error: Exception) -> str:
    """Return what is wrong with a line or a file, in one line."""
    if isinstance(error, ValidationError):
        return ": ".join(first_problem(error))
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return " ".join(str(error).split())


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn any error of reading a file into a SourceError that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def unzipped(file: IO[bytes]) -> IO[bytes]:
    """Return the content of a gzipped file. Reading raises OSError, EOFError or zlib.error if it is damaged."""
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
