from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa.errors import SettingsError, StorageError
from fiqa.ledger.connection import Connection
from fiqa.ledger.job_id import new_job_id
from fiqa.storage.redis import RedisStorage
from fiqa.storage.storage import Storage, open_storage
from tests.producer.storage.jobs import JOB, OTHER_JOB


def test_a_shard_is_read_as_it_was_written(storage: Storage) -> None:
    data = os.urandom(100_000)
    storage.write_once(JOB, "manifest", 0, data)
    storage.write_once(JOB, "results", 0, b"")
    storage.write_once(JOB, "manifest", 99_999_999, b"last")
    assert storage.read(JOB, "manifest", 0) == data
    assert storage.read(JOB, "results", 0) == b""
    assert storage.read(JOB, "manifest", 99_999_999) == b"last"


def test_write_once_keeps_the_first_shard_and_returns_whether_it_wrote(storage: Storage) -> None:
    assert storage.write_once(JOB, "results", 0, b"first") is True
    assert storage.write_once(JOB, "results", 0, b"second") is False
    assert storage.write_once(JOB, "results", 0, b"first") is False
    assert storage.read(JOB, "results", 0) == b"first"


def test_a_deleted_job_leaves_nothing_and_others_stay(storage: Storage) -> None:
    for job_id in (JOB, OTHER_JOB):
        storage.write_once(job_id, "manifest", 0, b"m")
        storage.write_once(job_id, "results", 0, b"r")
        storage.write_document(job_id, "job", b"{}")
    storage.delete(JOB)
    storage.delete(JOB)
    assert storage.chunks(JOB, "manifest") == storage.chunks(JOB, "results") == []
    assert storage.read_document(JOB, "job") is None
    assert storage.read(OTHER_JOB, "results", 0) == b"r"


def test_documents_are_replaced_and_their_jobs_are_listed(storage: Storage) -> None:
    assert storage.jobs() == []
    assert storage.read_document(JOB, "job") is None
    for text in (b"first", b"second"):
        storage.write_document(JOB, "job", text)
    storage.write_document(OTHER_JOB, "summary", b"{}")
    assert storage.read_document(JOB, "job") == b"second"
    assert storage.jobs() == ([JOB] if storage.url == "redis" else sorted([JOB, OTHER_JOB]))


def test_of_many_that_write_a_shard_at_the_same_time_one_succeeds(storage: Storage) -> None:
    shards = [b"%d" % number * 20_000 for number in range(8)]
    for chunk in range(5):
        with ThreadPoolExecutor(len(shards)) as pool:
            wrote = list(pool.map(lambda data, chunk=chunk: storage.write_once(JOB, "results", chunk, data), shards))
        assert wrote.count(True) == 1
        assert storage.read(JOB, "results", chunk) == shards[wrote.index(True)]


def test_jobs_and_chunks_do_not_mix(storage: Storage) -> None:
    for job, chunk in [(JOB, 0), (JOB, 1), (OTHER_JOB, 0)]:
        storage.write_once(job, "results", chunk, f"{job} {chunk}".encode())
    for job, chunk in [(JOB, 0), (JOB, 1), (OTHER_JOB, 0)]:
        assert storage.read(job, "results", chunk) == f"{job} {chunk}".encode()


def test_the_error_for_a_missing_shard_is_one_line(storage: Storage) -> None:
    storage.write_once(JOB, "manifest", 0, b"x")
    for job, chunk in [(JOB, 1), (new_job_id(), 0)]:
        with pytest.raises(StorageError, match=r"^[^\n]+$") as caught:
            storage.read(job, "manifest", chunk)
        assert job in str(caught.value)


def test_the_url_of_a_storage_opens_the_same_storage(
    storage: Storage, nowhere: Connection, request: pytest.FixtureRequest
) -> None:
    storage.write_once(JOB, "manifest", 0, b"x")
    # A worker knows the storage by this URL alone. Only a storage in Redis needs the connection.
    connection = request.getfixturevalue("ledger").connection if isinstance(storage, RedisStorage) else nowhere
    assert open_storage(storage.url, connection).read(JOB, "manifest", 0) == b"x"


@pytest.mark.parametrize(
    "url",
    [
        *("http://store/x", "redis://localhost", "s3://", "s3:///prefix", "file://host/data", "~nobody-of-this-name/x"),
        # Typos: each of them was taken for a folder of that name.
        *(
            "rediss",
            "Redis",
            "redis:",
            "redis:6379/0",
            "redis ",
            " redis",
            '"redis"',
            "localhost:6379",
            "data",
            "data/x",
        ),
        *("s3:/bucket/prefix", "s3:bucket", "S3://bucket", "s3a://bucket", "s3//bucket", " s3://bucket", "file:/data"),
        *("file:data", "file:", "FILE:///data", " /data", "C:\\\\data", ".hidden", "..data", ""),
    ],
)
def test_a_url_that_names_no_storage_is_a_settings_error(nowhere: Connection, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"^FIQA_STORAGE: {re.escape(repr(url))} [^\n]+$"):
        open_storage(url, nowhere)


@pytest.mark.parametrize("url", ["/data/x", "./data", "../data", ".", "..", "~", "~/data", "file:///data%20x", "/a:b"])
def test_a_folder_is_a_path_that_begins_like_one(nowhere: Connection, url: str) -> None:
    path = Path(url.removeprefix("file://").replace("%20", " ")).expanduser()
    assert open_storage(url, nowhere).url == str(path.resolve())
