"""Objects are read literally, within limits, and each error names its cause."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa_worker.errors import (
    AccessDenied,
    NotFound,
    SourceUnavailable,
    TooLarge,
)
from tests.conftest import Bucket
from tests.servers import S3Server
from tests.worker.pipeline.fetching import BODY, LARGE_BODY, ODD_KEY, PLAIN_KEY, fetcher


# S3
@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    "key",
    [
        "photo.jpg",
        "with space.jpg",
        " leading and trailing space ",
        "plus+.jpg",
        "percent%20.jpg",
        "percent%zz.jpg",
        "%2e%2e/photo.jpg",
        "question?x=1",
        "hash#1",
        "ünï/写真.jpg",
        "e\u0301.jpg",
        "a&b=c;d:e,f@g$h!'()*",
        '<a>|"b"\\c`d^e[f]{g}~',
        "s3://other-bucket/photo.jpg",
        "/leading-slash.jpg",
        "//two-leading-slashes.jpg",
        "two//slashes.jpg",
        "trailing-slash/",
        "a/./b.jpg",
        "a/../b.jpg",
        "../b.jpg",
        "..",
        "tab\tkey",
        "\x7f",
    ],
)
def test_every_key_that_s3_takes_is_read_literally(bucket: Bucket, key: str) -> None:
    bucket.put(key.strip("/"), b"another object, that a normalized key would name")
    bucket.put(key, BODY)

    assert fetcher().fetch(bucket.uri(key)) == BODY


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_missing_object_is_not_found(bucket: Bucket, key: str) -> None:
    with pytest.raises(NotFound, match="no such object"):
        fetcher().fetch(bucket.uri(key))


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_missing_bucket_is_not_found_and_named(key: str) -> None:
    with pytest.raises(NotFound, match="no such bucket: nobody-made-this-one"):
        fetcher().fetch(f"s3://nobody-made-this-one/{key}")


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_denied_object_is_access_denied_and_its_neighbor_is_read(bucket: Bucket, key: str) -> None:
    denied, neighbor = bucket.put(f"secret/{key}", BODY), bucket.put(key, BODY)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject"}
    statement["Resource"] = f"arn:aws:s3:::{bucket.name}/secret/*"
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))

    with pytest.raises(AccessDenied, match="403"):
        fetcher().fetch(denied)
    assert fetcher().fetch(neighbor) == BODY


@pytest.mark.usefixtures("s3_env")
def test_a_wrong_secret_is_a_fault_of_the_worker_and_says_why(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if s3.name != "Ceph":
        pytest.skip("moto checks no signatures")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")

    with pytest.raises(SourceUnavailable, match="SignatureDoesNotMatch: the secret key is wrong"):
        fetcher().fetch(bucket.put(PLAIN_KEY, BODY))


def test_without_credentials_the_message_names_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(SourceUnavailable, match="no S3 credentials: set AWS_ACCESS_KEY_ID"):
        fetcher().fetch("s3://photos/a.jpg")


@pytest.mark.usefixtures("s3_env")
def test_the_error_of_an_unknown_profile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(SourceUnavailable, match=r"^cannot read s3://photos: .*profile \(nobody\)"):
        fetcher().fetch("s3://photos/a.jpg")


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_an_object_at_the_limit_is_read_and_one_byte_more_is_too_large(bucket: Bucket, key: str) -> None:
    uri = bucket.put(key, bytes(1000))

    assert fetcher(max_bytes=1000).fetch(uri) == bytes(1000)
    with pytest.raises(TooLarge, match="1,000 bytes, and at most 999 are allowed"):
        fetcher(max_bytes=999).fetch(uri)


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_large_image_is_read_unchanged(bucket: Bucket, key: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(LARGE_BODY)

    assert fetcher().fetch(bucket.put(key, LARGE_BODY))[:] == LARGE_BODY
    assert fetcher(tmp_path.as_uri()).fetch((tmp_path / "a.jpg").as_uri())[:] == LARGE_BODY


@pytest.mark.usefixtures("s3_env")
def test_an_empty_object_is_empty_bytes(bucket: Bucket) -> None:
    assert fetcher().fetch(bucket.put("empty.jpg", b"")) == b""


@pytest.mark.usefixtures("s3_env")
def test_many_threads_share_one_fetcher(bucket: Bucket) -> None:
    bodies = {
        bucket.put(f"{number}{slash}.jpg", b"%d" % number): b"%d" % number for number in range(40) for slash in "-/"
    }
    shared = fetcher()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(shared.fetch, bodies)) == list(bodies.values())


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    "uri", ["s3://photos", "s3://photos/", "s3://", "s3:///a.jpg", "s3://../a.jpg", "s3://a b/c.jpg"]
)
def test_a_uri_without_a_bucket_or_a_key_is_not_found(uri: str) -> None:
    with pytest.raises(NotFound):
        fetcher().fetch(uri)
