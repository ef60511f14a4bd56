"""S3's settings and sources, with a real S3 server and real folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fiqa.doctor.findings import State
from fiqa.doctor.sources import check_s3, check_source
from fiqa.errors import SettingsError
from tests.conftest import Bucket
from tests.producer.doctor.looking import one
from tests.producer.s3_settings import clear, set_all, write_profile
from tests.refusing_s3 import refusing_s3
from tests.servers import S3Server

KEYS = {"AWS_ACCESS_KEY_ID": "key-5f1c", "AWS_SECRET_ACCESS_KEY": "secret-5f1c"}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)


@pytest.mark.usefixtures("clean")
def test_where_credentials_region_and_endpoint_come_from_is_shown_without_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(monkeypatch, KEYS | {"AWS_REGION": "eu-west-3", "AWS_ENDPOINT_URL": "http://user:secret-5f1c@host:1"})
    from_environment = one(check_s3(is_needed=True), State.OK)
    assert from_environment == "credentials from AWS_ACCESS_KEY_ID, region eu-west-3, endpoint http://host:1"
    clear(monkeypatch)
    lines = "\n".join(f"{name.lower()} = {value}" for name, value in KEYS.items())
    monkeypatch.setenv("AWS_CONFIG_FILE", write_profile(tmp_path, f"[profile work]\nregion = eu-west-1\n{lines}\n"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    from_file = one(check_s3(is_needed=True), State.OK)
    assert from_file.startswith("credentials from the config file (profile work), region eu-west-1, endpoint https://")
    assert "5f1c" not in from_environment + from_file


@pytest.mark.usefixtures("clean")
def test_without_credentials_only_what_needs_them_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set AWS_PROFILE, or AWS_ACCESS_KEY_ID" in one(check_s3(is_needed=True), State.WRONG)
    one(check_s3(is_needed=False), State.SKIPPED)
    monkeypatch.setenv("FIQA_S3_ANONYMOUS", "true")
    one(check_s3(is_needed=True), State.SKIPPED)


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_PROFILE": "no-such-profile"},
        {"AWS_ENDPOINT_URL": "host:9000", **KEYS},
        {"AWS_ACCESS_KEY_ID": "key-5f1c"},
    ],
)
def test_wrong_settings_are_one_error_without_keys(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(SettingsError) as refused:
        list(check_s3(is_needed=True))
    assert "5f1c" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("clean")
def test_a_process_of_credentials_that_fails_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", write_profile(tmp_path, "[default]\ncredential_process = false\n"))
    with pytest.raises(SettingsError, match=r"custom-process.*: check AWS_PROFILE"):
        list(check_s3(is_needed=True))


@pytest.mark.usefixtures("s3_env")
def test_a_bucket_is_listed_and_a_file_of_it_read(bucket: Bucket) -> None:
    bucket.put("2026/", b"")
    bucket.put("2026/a.jpg", b"x")
    assert one(check_source(bucket.uri("2026/")), State.OK).endswith(": listed, and read 2026/a.jpg")
    assert "check the prefix" in one(check_source(bucket.uri("2027/")), State.WRONG)


@pytest.mark.usefixtures("s3_env")
def test_a_bucket_that_cannot_be_listed_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such bucket" in one(check_source("s3://fiqa-no-such-bucket/"), State.WRONG)
    with refusing_s3(403, "AccessDenied") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        text = one(check_source("s3://bucket/a/"), State.WRONG)
    assert text.startswith("cannot list s3://bucket/a/: access denied: check the bucket's policy")


@pytest.mark.usefixtures("s3_env")
def test_a_file_that_can_be_listed_and_not_read_is_wrong(s3: S3Server, bucket: Bucket) -> None:
    if s3.name != "moto":
        pytest.skip("Ceph has no archive")
    bucket.client.put_object(Bucket=bucket.name, Key="a.jpg", Body=b"x", StorageClass="GLACIER")
    text = one(check_source(bucket.uri("")), State.WRONG)
    assert text.startswith(f"cannot read s3://{bucket.name}/")
    assert "restore it first" in text


def test_folders_and_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a b.jpg").touch()
    assert one(check_source(str(tmp_path)), State.OK) == f"{tmp_path}: listed"
    assert one(check_source(tmp_path.as_uri()), State.OK) == f"{tmp_path}: listed"
    assert one(check_source((tmp_path / "a b.jpg").as_uri()), State.OK).endswith("a b.jpg: read")
    assert "is the share mounted?" in one(check_source(str(tmp_path / "empty")), State.WRONG)
    assert "does not exist on this machine" in one(check_source(str(tmp_path / "gone")), State.WRONG)
    assert "Not a directory" in one(check_source(str(tmp_path / "a b.jpg" / "below")), State.WRONG)


@pytest.mark.parametrize(
    "source",
    [
        "https://user:secret-5f1c@host/a.jpg?sig=secret-5f1c",
        "s3://key:secret-5f1c@bucket/",
        "s3://",
        "gs://bucket/",
        "https://bucket.s3.eu-west-1.amazonaws.com/a?X-Amz-Signature=secret-5f1c",
    ],
)
def test_what_is_not_a_source_is_wrong_and_its_secrets_are_not_shown(source: str) -> None:
    text = one(check_source(source), State.WRONG)
    assert "5f1c" not in text
    assert "s3://" in text
    json.dumps(text)
