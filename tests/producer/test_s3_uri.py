from __future__ import annotations

import pytest

from fiqa.errors import SettingsError, SourceError
from fiqa.ledger.connection import Connection
from fiqa.s3_uri import advice_for
from fiqa.sources.items import checked_items
from fiqa.sources.manifest import read_source
from fiqa.storage.storage import open_storage
from fiqa_worker.errors import NotFound
from tests.worker.pipeline.fetching import fetcher

ALIAS = "write the alias of the access point for its ARN: s3://NAME-s3alias/key"
SPELLINGS = {
    "s3a://photos/a b.jpg": "write s3://photos/a b.jpg",
    "s3n://photos/a.jpg": "write s3://photos/a.jpg",
    "S3://photos/a.jpg": "write s3://photos/a.jpg",
    "https://photos.s3.eu-west-1.amazonaws.com/a%20b.jpg?X-Amz-Signature=1": "write s3://photos/a b.jpg",
    "https://photos.with.dots.s3.eu-west-1.amazonaws.com/a.jpg": "write s3://photos.with.dots/a.jpg",
    "https://photos.s3.amazonaws.com/a.jpg": "write s3://photos/a.jpg",
    "https://photos.s3-eu-west-1.amazonaws.com/a.jpg": "write s3://photos/a.jpg",
    "https://photos.s3.dualstack.us-west-2.amazonaws.com/a.jpg": "write s3://photos/a.jpg",
    "https://photos.s3-accelerate.amazonaws.com/a.jpg": "write s3://photos/a.jpg",
    "https://photos.s3.cn-north-1.amazonaws.com.cn/a.jpg": "write s3://photos/a.jpg",
    "https://s3.eu-west-1.amazonaws.com/photos/a.jpg": "write s3://photos/a.jpg",
    "http://s3.amazonaws.com/photos/a.jpg": "write s3://photos/a.jpg",
    "s3://arn:aws:s3:::photos/a.jpg": "write s3://photos/a.jpg",
    "arn:aws:s3:::photos": "write s3://photos/",
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/a.jpg": ALIAS,
    "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint:mine/a.jpg": ALIAS,
    "s3://arn:aws:s3::123456789012:accesspoint/mine.mrap/a.jpg": ALIAS,
    "s3://photos/a.jpg": "",
    "s3://mine-abc123-s3alias/a.jpg": "",
    "file:///s3a/a.jpg": "",
    "https://example.org/s3.amazonaws.com/a.jpg": "",
    "gs://photos/a.jpg": "",
}
WRONG = [uri for uri, advice in SPELLINGS.items() if advice and "://" in uri]


@pytest.mark.parametrize("uri", SPELLINGS)
def test_another_spelling_of_s3_gets_advice(uri: str) -> None:
    assert advice_for(uri) == SPELLINGS[uri]


@pytest.mark.parametrize("uri", WRONG)
def test_another_spelling_of_s3_is_refused_with_the_advice_everywhere(uri: str) -> None:
    advice = SPELLINGS[uri]
    with pytest.raises(SourceError) as item:
        list(checked_items([uri]))
    with pytest.raises(SourceError) as source:
        list(read_source(uri, on_bad_line=print))
    with pytest.raises(SettingsError) as storage:
        open_storage(uri, Connection("redis://127.0.0.1:1"))
    for caught in (item, source, storage):
        assert str(caught.value).endswith(advice)
        assert "Signature" not in str(caught.value)


@pytest.mark.parametrize("uri", [uri for uri in WRONG if uri.startswith("s3://")])
def test_a_worker_gives_the_same_advice(uri: str) -> None:
    with pytest.raises(NotFound) as caught:
        fetcher().fetch(uri)
    assert str(caught.value).endswith(SPELLINGS[uri])
