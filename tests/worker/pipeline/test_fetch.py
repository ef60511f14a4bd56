"""What a worker may read, from S3 and from files, and the errors for all else."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa.errors import SettingsError
from fiqa_worker.errors import (
    AccessDenied,
    NotFound,
    SourceNotAllowed,
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


# Files


@pytest.mark.parametrize("name", ["a.jpg", "a b.jpg", "100%.jpg", "写真?#+.jpg", os.fsdecode(b"\xff.jpg")])
def test_a_file_is_read_by_the_uri_that_pathlib_writes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BODY)

    assert fetcher(tmp_path.as_uri()).fetch((tmp_path / name).as_uri()) == BODY


def test_a_link_is_followed_inside_the_allowed_folder_and_not_out_of_it(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "a.jpg").write_bytes(BODY)
    (inside / "link.jpg").symlink_to("a.jpg")
    (inside / "escape.jpg").symlink_to(outside / "a.jpg")
    (inside / "escape").symlink_to(outside)
    (tmp_path / "root").symlink_to(inside)

    assert fetcher(inside.as_uri()).fetch((inside / "link.jpg").as_uri()) == BODY
    assert fetcher((tmp_path / "root").as_uri()).fetch((tmp_path / "root" / "a.jpg").as_uri()) == BODY
    for path in ("escape.jpg", "escape/a.jpg"):
        with pytest.raises(SourceNotAllowed):
            fetcher(inside.as_uri()).fetch((inside / path).as_uri())


def test_other_than_regular_files_are_not_found_and_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "file.txt").touch()
    allowed = fetcher(tmp_path.as_uri())

    for name in ("pipe.jpg", "loop.jpg", "missing.jpg", "file.txt/a.jpg", "x" * 300, "a%00.jpg", ""):
        with pytest.raises(NotFound, match="no such file"):
            allowed.fetch(f"{tmp_path.as_uri()}/{name}")


def test_a_file_that_the_user_may_not_read_is_access_denied(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(BODY)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(AccessDenied, match="may not read"):
            fetcher(tmp_path.as_uri()).fetch(path.as_uri())
    finally:
        os.seteuid(user)


def test_a_file_over_the_limit_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1000))

    assert fetcher(tmp_path.as_uri(), max_bytes=1000).fetch(path.as_uri()) == bytes(1000)
    with pytest.raises(TooLarge, match="1,000 bytes, and at most 999 are allowed"):
        fetcher(tmp_path.as_uri(), max_bytes=999).fetch(path.as_uri())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_file_that_is_longer_than_its_reported_size_is_too_large() -> None:
    assert Path("/proc/self/status").stat().st_size == 0

    with pytest.raises(TooLarge):
        fetcher("file:///proc", max_bytes=100).fetch("file:///proc/self/status")
