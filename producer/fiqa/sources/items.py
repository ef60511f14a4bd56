"""An iterable as a source: each URI or item is checked before it becomes part of a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from fiqa.contract import Item
from fiqa.errors import SourceError, first_problem
from fiqa.sources.lines import checked_uri, is_uri


def checked_items(source: Iterable[str | Item]) -> Iterator[Item]:
    """Yield an item for each URI, and each item as it is.

    Raises:
        SourceError: workers cannot read the URI of an item. The error names the number of the item, from 0.
    """
    for number, given in enumerate(source):
        try:
            item = given if isinstance(given, Item) else Item(uri=given)
        except ValidationError as error:
            raise SourceError(f"item {number}: {first_problem(error)[1]}") from None
        if not is_uri(item.uri):
            raise SourceError(f"item {number}: {item.uri!r} is not a URI: s3://bucket/key or file:///path")
        try:
            checked_uri(item.uri)
        except ValueError as error:
            raise SourceError(f"item {number}: {error}") from None
        yield item
