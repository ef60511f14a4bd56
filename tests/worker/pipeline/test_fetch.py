"""What a worker may read."""

from __future__ import annotations

import re

import pytest

from fiqa.errors import SettingsError
from fiqa_worker.errors import (
    NotFound,
    SourceNotAllowed,
)
from tests.conftest import Bucket
from tests.worker.pipeline.fetching import BODY, fetcher


# What may be read
@pytest.mark.parametrize(
    ("allowed", "uri"),
    [
        ("s3://photos", "s3://photos-private/a.jpg"),
        ("s3://photos/", "s3://photos-private/a.jpg"),
        ("s3://photos/2024", "s3://photos/2024-secret/a.jpg"),
        ("s3://photos/2024/", "s3://photos/a.jpg"),
        ("s3://photos/", "s3://photos"),
        ("s3://", "S3://photos/a.jpg"),
        ("s3://", "file:///etc/passwd"),
        ("s3://", "https://example.org/a.jpg"),
        ("s3://", "http://169.254.169.254/latest/meta-data"),
        ("s3://", "photos/a.jpg"),
        ("s3://", "/etc/passwd"),
        ("s3://", "s3:/photos/a.jpg"),
        ("s3://", "data:image/png;base64,AAAA"),
        ("file:///data", "file:///data-private/a.jpg"),
        ("file:///data", "file:///data/../etc/passwd"),
        ("file:///data", "file:///data/%2e%2e/etc/passwd"),
        ("file:///data", "file:///data/..%2Fetc/passwd"),
        ("file:///data", "file://data/a.jpg"),
        ("file:///data", "file://elsewhere/data/a.jpg"),
        ("file:///data", "file:data/a.jpg"),
        ("file:///data", "s3://photos/a.jpg"),
        ("file:///", "file:///../etc/passwd"),
    ],
)
def test_what_is_not_below_an_allowed_prefix_is_not_read(allowed: str, uri: str) -> None:
    with pytest.raises(SourceNotAllowed):
        fetcher(allowed).fetch(uri)


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("below", ["", "/", "/public", "/public/"])
def test_what_is_below_an_allowed_prefix_is_read(bucket: Bucket, below: str) -> None:
    uri = bucket.put("public/a.jpg", BODY)

    assert fetcher("s3://another-one/", f"s3://{bucket.name}{below}").fetch(uri) == BODY


@pytest.mark.usefixtures("s3_env")
def test_dots_in_a_key_do_not_leave_the_prefix(bucket: Bucket) -> None:
    bucket.put("private/a.jpg", BODY)

    with pytest.raises(NotFound):
        fetcher(f"s3://{bucket.name}/public/").fetch(bucket.uri("public/../private/a.jpg"))


@pytest.mark.parametrize("prefix", ["photos/", "https://", "file://", "file://host/data", "s3:", "*"])
def test_a_prefix_that_allows_nothing_is_a_settings_error(prefix: str) -> None:
    with pytest.raises(SettingsError, match=f"FIQA_ALLOWED_SOURCES: {re.escape(repr(prefix))}"):
        fetcher("s3://", prefix)
