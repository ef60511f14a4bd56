"""The check of the storage, with real folders and a real S3 server."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from fiqa.doctor import storage as under_test
from fiqa.doctor.findings import State
from fiqa.doctor.storage import check_storage, quick_s3_client
from fiqa.errors import SettingsError, StorageError
from tests.conftest import Bucket
from tests.producer.doctor.looking import one, states
from tests.refusing_s3 import refusing_s3
from tests.servers import free_ports

NOWHERE = "redis://127.0.0.1:1/0"


def test_a_folder_that_exists_is_fine_and_stays_as_it_was(tmp_path: Path) -> None:
    found = list(check_storage(str(tmp_path), NOWHERE))
    assert states(found) == {"disk": State.OK, "storage": State.OK}
    assert list(tmp_path.iterdir()) == []


def test_jobs_in_a_folder_are_kept(tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "20260101-000000-abcdef" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text("{}")
    one(check_storage(tmp_path.as_uri(), NOWHERE), State.OK, "storage")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [job]


def test_a_folder_that_does_not_exist_is_a_warning_and_is_not_made(tmp_path: Path) -> None:
    text = one(check_storage(str(tmp_path / "new"), NOWHERE), State.WARNING, "storage")
    assert text.endswith("does not exist yet: is this the folder that all machines share?")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/fiqa")):
        with pytest.raises(StorageError, match=r"^cannot write .*: fix it, or choose another FIQA_STORAGE$"):
            list(check_storage(str(folder), NOWHERE))


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fiqa.storage.directory.write_atomically", full)  # only root could make a disk that is full
    with pytest.raises(StorageError, match="No space left on device"):
        list(check_storage(str(tmp_path / "new"), NOWHERE))
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_storage_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="FIQA_STORAGE"):
        list(check_storage("rediss", NOWHERE))


def test_the_storage_in_redis_needs_no_check() -> None:
    assert one(check_storage("redis", NOWHERE), State.OK).startswith("redis: ")


@pytest.mark.usefixtures("s3_env")
def test_a_bucket_is_fine_and_nothing_is_left_in_it(bucket: Bucket) -> None:
    assert one(check_storage(bucket.uri("a/b"), NOWHERE), State.OK).startswith(bucket.uri("a/b"))
    assert "Contents" not in bucket.client.list_objects_v2(Bucket=bucket.name)


@pytest.mark.usefixtures("s3_env")
def test_a_bucket_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(StorageError, match=r"no such bucket: check its name, or make it$"):
        list(check_storage("s3://fiqa-no-such-bucket", NOWHERE))


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "InvalidAccessKeyId", "check AWS_PROFILE or AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "check the bucket's policy"),
        (400, "ExpiredToken", "renew them"),
    ],
)
def test_credentials_that_are_refused_are_an_error(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, advice: str
) -> None:
    with refusing_s3(status, code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StorageError, match=advice):
            list(check_storage("s3://bucket", NOWHERE))


@pytest.mark.usefixtures("s3_env")
def test_a_store_that_does_not_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)}")
    with pytest.raises(StorageError, match="Could not connect"):
        list(check_storage("s3://bucket", NOWHERE))


@pytest.mark.usefixtures("s3_env")
def test_a_store_that_ignores_conditions_is_a_warning(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def unconditional(**options: Any) -> Any:
        client = quick_s3_client(**options)
        client.meta.events.register(
            "provide-client-params.s3.PutObject", lambda params, **_: params.pop("IfNoneMatch", None) and params
        )
        return client

    monkeypatch.setattr(under_test, "quick_s3_client", unconditional)
    text = one(check_storage(bucket.uri(""), NOWHERE), State.WARNING)
    assert "ignores If-None-Match" in text
    assert "Contents" not in bucket.client.list_objects_v2(Bucket=bucket.name)
