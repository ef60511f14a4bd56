from __future__ import annotations

import pytest

from fiqa.contract import Item
from fiqa.errors import SourceError
from fiqa.sources.items import checked_items


def test_a_uri_becomes_an_item_and_an_item_stays_as_it_is() -> None:
    mine = Item(uri="file:///a%20b.jpg", id="mine", version=None)
    assert list(checked_items(["s3://b/1.jpg", mine])) == [Item(uri="s3://b/1.jpg"), mine]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("a.jpg", "item 1: 'a.jpg' is not a URI: s3://bucket/key or file:///path"),
        (Item(uri="/data/a.jpg"), "item 1: '/data/a.jpg' is not a URI"),
        ("https://b/a.jpg", "item 1: workers read s3:// and file:///, not https://"),
        ("s3://b/", "item 1: it names no image"),
        ("", "item 1: String should have at least 1 character"),
        (7, "item 1: Input should be a valid string"),
    ],
)
def test_an_item_that_workers_cannot_read_is_named_by_its_number(given: str | Item, problem: str) -> None:
    items = checked_items(["s3://b/1.jpg", given])
    assert next(items).uri == "s3://b/1.jpg"
    with pytest.raises(SourceError) as caught:
        next(items)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)
