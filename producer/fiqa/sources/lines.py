"""Turns lines into items: what a line of a list or a row of CSV can hold.

Lines that are not items are reported and skipped.
"""

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
from fiqa.sources.text import MAX_LINE_BYTES, split_lines
from fiqa.text import has_credentials

# What workers can decode. Other objects of a prefix, and other files of a folder, are skipped.
IMAGE_SUFFIXES: Final = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png"),
    *(".tif", ".tiff", ".webp"),
)
_LONGEST_SUFFIX: Final = max(map(len, IMAGE_SUFFIXES))
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# A URI that lacks one slash or both. Write ./s3:... for a file of such a name.
_HALF_A_SCHEME: Final = re.compile(r"(s3|file):(?!//)", re.IGNORECASE)
_WHOLE: Final = {"s3": "s3://bucket/key", "file": "file:///path"}
_NAMES_AN_IMAGE: Final = re.compile(r"(s3://[^/]+/|file:///).*[^/]", re.DOTALL)
_QUOTES: Final = {"'": "'", '"': '"', "`": "`", "<": ">", "\u2018": "\u2019", "\u201c": "\u201d", "\xab": "\xbb"}
_BEGINS_AN_ARRAY: Final = re.compile(r'\[\s*([\[{"\]]|$)')
_ONE_A_LINE: Final = "a JSON array: write one JSON object on each line, for example with jq -c '.[]'"

# Titles of a CSV, normalized. The first of these titles that a CSV has is used as the URI or path.
WHERE_TITLES: Final = ("uri", "url", "sourceref", "path", "filepath", "file", "filename")
OBJECT_TITLES: Final = frozenset({"bucket", "key"})
_TITLES: Final = frozenset({*WHERE_TITLES, *OBJECT_TITLES, "versionid", "version", "id"})

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
    if uri.startswith("s3://") and has_credentials(uri):
        raise ValueError("credentials are not a part of a URI: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not _NAMES_AN_IMAGE.fullmatch(uri):
        raise ValueError("it names no image: write s3://bucket/key or file:///path; a folder or a prefix is a source")
    return uri


def read_lines(file: IO[bytes], name: str, parse: Parse, on_bad_line: OnBadLine) -> Iterator[Item]:
    """Stream the items of a file of lines. A line is at most 64 KiB long.

    Args:
        file: positioned at its beginning.
        name: what errors call the file.
        parse: called with each line that is not empty, without the spaces around it.
        on_bad_line: called with an error for each line that is not an item. If it returns, the stream continues.

    Raises:
        SourceError: the file is a JSON array, has another encoding, or `parse` raises it.
    """
    number, is_first = 0, True
    try:
        for line in split_lines(file):
            number += 1
            try:
                if line is None:
                    raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")  # noqa: TRY301  reported like the others
                # A byte order mark may also be in the middle of a file, if one file was appended to another.
                text = line.decode().lstrip("\ufeff").strip()
                if text and is_first and _BEGINS_AN_ARRAY.match(text):
                    raise SourceError(_ONE_A_LINE)  # noqa: TRY301  it gets the name and the number below
                item = parse(text) if text else None
                is_first = is_first and not text
            except (ValueError, RuntimeError, csv.Error) as error:
                is_first = False
                on_bad_line(SourceError(f"{name}, line {number}: {why(error)}"))
            except SourceError as error:
                raise SourceError(f"{name}, line {number}: {error}") from None
            else:
                if item is not None:
                    yield item
    except UnicodeError as error:
        encoding = str(getattr(error, "encoding", "UTF-16")).upper()
        raise SourceError(f"{name}: it begins as {encoding} and is damaged or cut off") from None


def list_line(text: str) -> Item | None:
    """Parse a URI, a path, or a JSON object with `uri` or `source-ref`, and perhaps `id`. A # begins a comment."""
    if text.startswith("#"):
        return None
    if not text.startswith("{"):
        _check_plain(text)
        return item_at(text)
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        # The error's own text has a line number too, which is always 1.
        what = f"{error.msg[0].lower()}{error.msg[1:].removesuffix(' at')}"
        raise ValueError(f"not JSON: {what} at character {error.pos + 1}") from None
    where = fields.get("uri", fields.get("source-ref"))
    if not isinstance(where, str) or not where:
        raise ValueError("a JSON line needs `uri` or `source-ref`, a string")
    return item_at(where, _own_id(fields.get("id")))


def _check_plain(text: str) -> None:
    """Raise ValueError for a line that is not meant as a path, such as a JSON value or titles of a CSV."""
    if text.startswith(("[", '"')) and _is_json(text):  # a path may also begin with these
        raise ValueError("a JSON line is an object with `uri` or `source-ref`")
    if not text.strip("[], "):
        raise ValueError(_ONE_A_LINE)
    if _TITLES.issuperset(normalized(text.split(","))):
        raise ValueError("titles of a CSV: let the name of the file end in .csv")
    if "\t" in text or "\r" in text:
        raise ValueError("it holds a tab or a carriage return: write it as JSON, or name a table .csv")
    if text[0] in _QUOTES and text[-1] == _QUOTES[text[0]] and len(text) > 1:
        raise ValueError("it is quoted: write it without the quotes")


def normalized(titles: list[str]) -> list[str]:
    """Return titles without case, quotes, spaces, - and _."""
    return [re.sub(r"[\s_-]", "", title).strip("\"'").lower() for title in titles]


def _own_id(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"id: text or a whole number, not {json.dumps(value)[:20]}")


def item_at(where: str, own_id: str | None = None, version: str | None = None) -> Item:
    """Return the item at a URI or a path.

    Raises:
        ValueError: it is neither, or workers cannot read it.
    """
    uri = _uri(where)
    return Item(uri=uri, id=own_id, version=version if uri.startswith("s3://") else None)


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
    if not key or key.endswith("/"):
        raise ValueError("the key is that of a folder" if key else "the key is empty")
    return Item(uri=_without_nul(f"s3://{bucket}/{key}"), version=version or None)


def why(error: Exception) -> str:
    """Return what is wrong with a line or a file, in one line."""
    if isinstance(error, ValidationError):
        return ": ".join(filter(None, first_problem(error)))  # a problem of the whole has no name
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
    if is_uri(text):
        return checked_uri(text)
    if "://" in text and not text.startswith(("/", "./", "../")):
        raise ValueError("it holds a URI and does not begin with it: write the URI alone")
    return Path(text).resolve().as_uri()


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL byte: is the file UTF-16?")
    return text
