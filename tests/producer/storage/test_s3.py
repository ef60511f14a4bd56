from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from fiqa.errors import SettingsError, StorageError
from fiqa.ledger.connection import Connection
from fiqa.storage.s3 import S3Storage
from fiqa.storage.shards import pack
from fiqa.storage.storage import open_storage
from tests.conftest import Bucket
from tests.producer.storage.jobs import JOB
from tests.servers import S3Server


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("prefix", ["", "a/b", "a/b/"])
def test_other_tools_find_the_objects_of_a_bucket_by_their_names(
    bucket: Bucket, nowhere: Connection, prefix: str
) -> None:
    open_storage(bucket.uri(prefix), nowhere).write_once(JOB, "results", 17, pack([b"{}"]))
    (key,) = (entry["Key"] for entry in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"])
    assert key == f"{'a/b/' if prefix else ''}jobs/{JOB}/results/00000017.jsonl.gz"
    assert bucket.client.get_object(Bucket=bucket.name, Key=key)["ContentType"] == "application/gzip"


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("AWS_ACCESS_KEY_ID", "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "the secret key is wrong: check AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_the_error_for_a_wrong_key_says_which_one(
    bucket: Bucket,
    nowhere: Connection,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3Server,
    *,
    name: str,
    why: str,
) -> None:
    if s3.name != "Ceph":
        pytest.skip("moto does not check keys")
    monkeypatch.setenv(name, "WRONG")
    storage = open_storage(bucket.uri(""), nowhere)
    with pytest.raises(StorageError, match=rf"^cannot write s3://{bucket.name}/jobs/[^\n]+: {why}$"):
        storage.write_once(JOB, "manifest", 0, b"x")
    with pytest.raises(StorageError, match=rf"^cannot read s3://{bucket.name}/jobs/[^\n]+: {why}$"):
        storage.read(JOB, "manifest", 0)


@pytest.mark.usefixtures("s3_env")
def test_the_error_for_missing_keys_says_what_to_set(
    bucket: Bucket, nowhere: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        open_storage(bucket.uri(""), nowhere).write_once(JOB, "manifest", 0, b"x")


@pytest.mark.usefixtures("s3_env")
def test_the_error_for_a_missing_bucket_is_one_line(bucket: Bucket, nowhere: Connection) -> None:
    storage = open_storage(f"s3://{bucket.name}-no/prefix", nowhere)
    with pytest.raises(StorageError, match=r"^cannot write s3://[^\n]+: no such bucket: check its name, or make it$"):
        storage.write_once(JOB, "results", 0, b"x")
    with pytest.raises(StorageError, match=r"^cannot read s3://[^\n]+: no such bucket: check its name, or make it$"):
        storage.read(JOB, "results", 0)


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    ("name", "value"), [("AWS_PROFILE", "not-there"), ("AWS_ENDPOINT_URL", "no URL"), ("AWS_ENDPOINT_URL", "localhost")]
)
def test_the_error_for_wrong_settings_of_boto3_is_one_line(
    nowhere: Connection, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^S3: [^\n]+{value}[^\n]+{name}"):
        open_storage("s3://bucket", nowhere)


@pytest.mark.usefixtures("s3_env")
def test_the_error_for_an_s3_that_does_not_answer_is_one_line(
    nowhere: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match=r"^cannot write [^\n]+Could not connect[^\n]+127\.0\.0\.1:1[^\n]+$"):
        open_storage("s3://bucket", nowhere).write_once(JOB, "manifest", 0, b"x")


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("code", ["OperationAborted", "ConditionalRequestConflict"])
def test_a_write_that_meets_another_is_tried_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    storage = S3Storage(bucket.uri(""))
    real, answers = S3Storage._call, [code, code]  # noqa: SLF001  a server answers so at times

    def call(self: S3Storage, name: str, **arguments: Any) -> Any:
        if answers:
            raise ClientError({"Error": {"Code": answers.pop()}}, "PutObject")
        return real(self, name, **arguments)

    monkeypatch.setattr("fiqa.storage.s3._CONFLICT_PAUSE_S", 0)
    monkeypatch.setattr(S3Storage, "_call", call)
    assert storage.write_once(JOB, "results", 0, b"x") is True
    assert storage.read(JOB, "results", 0) == b"x"
    answers[:] = [code] * 3
    with pytest.raises(StorageError, match=code):
        storage.write_once(JOB, "results", 1, b"x")
