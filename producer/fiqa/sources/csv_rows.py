"""Turns rows of CSV into items: Bucket,Key of S3 Batch Operations, or columns with titles."""

from __future__ import annotations

import csv
import re
from itertools import zip_longest
from typing import Final

from fiqa.contract import Item
from fiqa.errors import SourceError
from fiqa.sources.lines import OBJECT_TITLES, WHERE_TITLES, item_at, normalized, object_item, url_decoded
from fiqa.text import count

_VERSION: Final = ("versionid", "version")
_SHOWN: Final = "uri, url, source-ref, path, file or filename, or bucket and key; and id and version"
_BATCH_COLUMNS: Final = (2, 3)
_DELIMITERS: Final = ",;\t"
# A word, such as `label` or `Col 2`. Keys have a dot, a slash or more digits.
_LIKE_A_TITLE: Final = re.compile(r"[A-Za-z][A-Za-z_ -]{0,30}\d{0,2}")
# Other columns of an S3 Inventory: size, date, flag, storage class and ETag. Versions of Google have 16 digits.
_NOT_A_VERSION: Final = re.compile(
    r"\d{1,13}|\d{4}-\d\d-\d\d.*|true|false|[A-Z_]{4,}|[0-9a-f]{32}(-\d+)?|.*\s.*", re.DOTALL
)


class CsvRows:
    """Parses the rows of one file, in order. The first row decides what its columns are."""

    def __init__(self) -> None:
        self._titles: list[str] | None = None
        self._delimiter = ","
        self._begun = False
        self._in_quotes = False  # a quoted value of a row above has not ended

    def __call__(self, text: str) -> Item | None:
        """Return the item of a row; None for a row of titles.

        Raises:
            SourceError: the first row looks like titles, and none of them is known.
            ValueError, csv.Error: the row is not an item. If a quoted value has a line end, each line of that row is an
            error.
        """
        if self._in_quotes and not self._is_whole(text):
            self._in_quotes = _leaves_quotes_open('"' + text, self._delimiter)
            raise ValueError("a quoted value of a row above goes on here: write each row on one line")
        self._in_quotes = _leaves_quotes_open(text, self._delimiter)
        if self._in_quotes:
            raise ValueError("a quoted value does not end on this line: write each row on one line")
        if not self._begun:
            self._begun = True
            self._titles, self._delimiter = _titles_of(text)
        values = csv_values(text, self._delimiter)
        if self._titles is None:
            return _batch_item(values)
        if normalized(values) == self._titles:
            return None
        if len(values) > len(self._titles):
            raise ValueError(f"{count(len(values), 'column')}, but {count(len(self._titles), 'title')}")
        # If two columns have the same title, the first one counts. A row may end early.
        pairs = list(zip_longest(self._titles, (value.strip() for value in values), fillvalue=""))
        return _titled_item(dict(reversed(pairs)))

    def _is_whole(self, text: str) -> bool:
        """Return whether a line inside a quoted value is a complete row.

        Then the opening quote above it was a mistake.
        """
        columns = len(text.split(self._delimiter))
        expected = (len(self._titles),) if self._titles else _BATCH_COLUMNS
        return '"' not in text and columns > 1 and columns in expected


def csv_values(text: str, delimiter: str = ",") -> list[str]:
    """Split a row of CSV, with quotes as in RFC 4180."""
    return next(csv.reader((text,), strict=True, delimiter=delimiter)) if '"' in text else text.split(delimiter)


def _leaves_quotes_open(text: str, delimiter: str) -> bool:
    if text.count('"') % 2 == 0:  # a quote inside of a quoted value is written twice
        return False
    try:
        csv_values(text, delimiter)
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _titles_of(text: str) -> tuple[list[str] | None, str]:
    """Return the titles of a first row, or None if it holds none; and what separates the columns."""
    for delimiter in _DELIMITERS:
        titles = normalized(csv_values(text, delimiter))
        if OBJECT_TITLES.issubset(titles) or not set(titles).isdisjoint(WHERE_TITLES):
            return titles, delimiter
    for delimiter in _DELIMITERS:
        cells = [cell.strip() for cell in csv_values(text, delimiter)]
        if len(cells) > 1 and all(_LIKE_A_TITLE.fullmatch(cell) for cell in cells):
            raise SourceError(
                f"{text[:100]!r} looks like titles, and none says where the images are. Known titles are {_SHOWN}."
                " If it is not a row of titles, put Bucket,Key above it"
            )
    return None, ","


def _batch_item(values: list[str]) -> Item:
    if len(values) not in _BATCH_COLUMNS:
        hint = "a list of URIs ends in .txt" if len(values) == 1 else "for an S3 Inventory pass its manifest.json"
        raise ValueError(f"{count(len(values), 'column')}, not Bucket,Key or Bucket,Key,VersionId: {hint}")
    return object_item(values[0], url_decoded(values[1]), _checked_version("".join(values[2:])))


def _titled_item(row: dict[str, str]) -> Item:
    version = _checked_version(next((row[title] for title in _VERSION if row.get(title)), ""))
    own_id = row.get("id") or None
    title = next((title for title in WHERE_TITLES if title in row), None)
    if title is None:
        item = object_item(row["bucket"], url_decoded(row["key"]), version)
        return Item(uri=item.uri, id=own_id, version=version) if own_id else item
    if not row[title]:
        raise ValueError(f"the {title} is empty")
    return item_at(row[title], own_id, version)


def _checked_version(text: str) -> str | None:
    if _NOT_A_VERSION.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a version: for an S3 Inventory pass its manifest.json")
    return text or None
