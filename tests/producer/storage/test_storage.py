from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fiqa.contract import JobSpec
from fiqa.errors import RedisUnavailableError, SettingsError, StorageError
from fiqa.ledger.job_id import new_job_id
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage, open_storage, pack, read_ahead, unpack
from tests.conftest import Bucket
from tests.servers import S3Server

JOB = new_job_id()
OTHER_JOB = new_job_id()
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def nowhere() -> Iterator[Ledger]:
    """A ledger for storages that do not use it."""
    with closing(Ledger(NOWHERE)) as ledger:
        yield ledger


@pytest.fixture(params=["redis", "folder", "s3", "s3 prefix"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    url = NOWHERE
    where = str(tmp_path / "made/when needed")
    if request.param == "redis":
        url, where = request.getfixturevalue("redis_url"), "redis"
    elif request.param.startswith("s3"):
        request.getfixturevalue("s3_env")
        bucket = request.getfixturevalue("bucket")
        where = bucket.uri("a team's/jobs/" if request.param == "s3 prefix" else "")
    with closing(Ledger(url)) as ledger:
        if where == "redis":
            for job_id in (
                JOB,
                OTHER_JOB,
            ):  # a storage in Redis takes no results of a job that the ledger does not know
                ledger.create(JobSpec(id=job_id, created=0), storage=where)
        yield open_storage(where, ledger)


# Shards


@pytest.mark.parametrize("lines", [[], [b"{}"], [b'{"a": 1}', "ü\u2028\x85".encode(), b""], [b"x" * 1000] * 5000])
def test_a_shard_unpacks_to_the_lines_it_was_packed_of(lines: list[bytes]) -> None:
    assert unpack(pack(lines)) == lines


def test_equal_lines_make_equal_shards_that_any_gzip_reads() -> None:
    lines = [b'{"uri": "s3://b/k"}', b"{}"]
    assert pack(lines) == pack(iter(lines))
    assert gzip.decompress(pack(lines)) == b'{"uri": "s3://b/k"}\n{}\n'


def test_a_shard_that_is_cut_off_is_refused_wherever_it_is_cut() -> None:
    whole = pack(b"%d" % number for number in range(1000))
    for length in (*range(30), len(whole) // 2, *range(len(whole) - 10, len(whole))):
        with pytest.raises(StorageError, match="cut off"):
            unpack(whole[:length])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"uri": "s3://b/k"}\n', id="not compressed"),
        pytest.param(zlib.compress(b"{}\n"), id="zlib, not gzip"),
        pytest.param(pack([b"x" * 99])[:-8] + bytes(8), id="wrong checksum"),
    ],
)
def test_a_damaged_shard_is_refused(data: bytes) -> None:
    with pytest.raises(StorageError, match=r"^a shard is damaged: [^\n]+$"):
        unpack(data)


def test_a_shard_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fiqa.storage.storage._MAX_SHARD_BYTES", 1000)
    assert len(unpack(pack([b"x" * 998]))[0]) == 998
    with pytest.raises(StorageError, match="larger than fiqa writes"):
        unpack(pack([b"x" * 1_000_000]))


# What every storage does


def test_what_was_written_is_read(storage: Storage) -> None:
    data = os.urandom(100_000)
    storage.write_once(JOB, "manifest", 0, data)
    storage.write_once(JOB, "results", 0, b"")
    storage.write_once(JOB, "manifest", 99_999_999, b"last")
    assert storage.read(JOB, "manifest", 0) == data
    assert storage.read(JOB, "results", 0) == b""
    assert storage.read(JOB, "manifest", 99_999_999) == b"last"


def test_write_once_keeps_the_first_and_says_so(storage: Storage) -> None:
    assert storage.write_once(JOB, "results", 0, b"first") is True
    assert storage.write_once(JOB, "results", 0, b"second") is False
    assert storage.write_once(JOB, "results", 0, b"first") is False
    assert storage.read(JOB, "results", 0) == b"first"


def test_chunks_are_listed_in_order_and_read_ahead_in_the_order_asked_for(storage: Storage) -> None:
    assert storage.chunks(JOB, "results") == []
    numbers = [*range(25), 1000, 99_999_999]
    for number in reversed(numbers):
        storage.write_once(JOB, "results", number, pack([b"%d" % number, b"end"]))
    storage.write_once(JOB, "manifest", 77, b"")
    storage.write_once(OTHER_JOB, "results", 78, b"")
    assert storage.chunks(JOB, "results") == numbers
    asked = [1000, *range(24, -1, -1)]
    assert list(read_ahead(storage, JOB, "results", asked)) == [(number, [b"%d" % number, b"end"]) for number in asked]


def test_read_ahead_stops_at_a_shard_that_is_not_there(storage: Storage) -> None:
    storage.write_once(JOB, "manifest", 0, pack([b"0"]))
    shards = read_ahead(storage, JOB, "manifest", [0, 1])
    assert next(shards) == (0, [b"0"])
    with pytest.raises(StorageError, match=r"^[^\n]+$"):
        next(shards)


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


def test_documents_are_replaced_and_their_jobs_listed_where_the_home_is_not_redis(storage: Storage) -> None:
    assert storage.jobs() == []
    assert storage.read_document(JOB, "job") is None
    for text in (b"first", b"second"):
        storage.write_document(JOB, "job", text)
    storage.write_document(OTHER_JOB, "summary", b"{}")
    if storage.url == "redis":
        assert (storage.read_document(JOB, "job"), storage.jobs()) == (None, [])
    else:
        assert storage.read_document(JOB, "job") == b"second"
        assert storage.jobs() == sorted([JOB, OTHER_JOB])


def test_of_many_that_write_once_at_the_same_time_one_does(storage: Storage) -> None:
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


def test_reading_what_is_not_there_is_one_line(storage: Storage) -> None:
    storage.write_once(JOB, "manifest", 0, b"x")
    for job, chunk in [(JOB, 1), (new_job_id(), 0)]:
        with pytest.raises(StorageError, match=r"^[^\n]+$") as caught:
            storage.read(job, "manifest", chunk)
        assert job in str(caught.value)


def test_the_url_of_a_storage_opens_the_same_storage(storage: Storage) -> None:
    storage.write_once(JOB, "manifest", 0, b"x")
    # A job's worker knows the storage by this URL alone; only that of Redis needs the ledger's connection.
    ledger = Ledger(storage._connection if storage.url == "redis" else NOWHERE)  # type: ignore[attr-defined]  # noqa: SLF001
    assert open_storage(storage.url, ledger).read(JOB, "manifest", 0) == b"x"


# Folders


def test_a_folder_may_be_named_in_several_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: Ledger
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "a #1?"
    names = [str(folder), "a #1?", "./x/../a #1?", "~/a #1?", folder.as_uri()]
    assert {open_storage(name, nowhere).url for name in names} == {str(folder)}


def test_others_can_read_a_folder_by_its_names(tmp_path: Path, nowhere: Ledger) -> None:
    open_storage(str(tmp_path), nowhere).write_once(JOB, "results", 17, b"x")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "jobs" / JOB / "results" / "00000017.jsonl.gz"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_no_file_behind(tmp_path: Path, nowhere: Ledger) -> None:
    storage = open_storage(str(tmp_path), nowhere)
    storage.write_once(JOB, "results", 0, b"first")
    storage.write_once(JOB, "results", 0, b"second")
    target = tmp_path / "jobs" / JOB / "job.json"
    target.mkdir()
    with pytest.raises(StorageError, match=rf"^cannot write {re.escape(str(target))}: Is a directory"):
        storage.write_document(JOB, "job", b"x")
    left = {path.relative_to(target.parent).as_posix() for path in target.parent.rglob("*")}
    assert left == {"job.json", "results", "results/00000000.jsonl.gz"}


def test_a_job_that_is_still_written_to_is_deleted_all_the_same(tmp_path: Path, nowhere: Ledger) -> None:
    storage = open_storage(str(tmp_path), nowhere)
    for chunk in range(300):
        storage.write_once(JOB, "manifest", chunk, b"x")

    def write(chunk: int) -> None:
        with suppress(StorageError):  # its folder went while it wrote
            storage.write_once(JOB, "manifest", chunk, b"x")

    with ThreadPoolExecutor(1) as pool:
        writes = pool.map(write, range(300, 600))
        storage.delete(JOB)
        list(writes)
    storage.delete(JOB)
    assert not (tmp_path / "jobs" / JOB).exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, nowhere: Ledger) -> None:
    (tmp_path / "file").touch()
    storage = open_storage(str(tmp_path / "file"), nowhere)
    with pytest.raises(
        StorageError, match=r"^cannot write [^\n]+/file/jobs/[^\n]+: Not a directory: [^\n]*FIQA_STORAGE$"
    ):
        storage.write_once(JOB, "manifest", 0, b"x")
    with pytest.raises(StorageError, match=r"^cannot read [^\n]+: Not a directory$"):
        storage.read(JOB, "manifest", 0)


# S3


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("prefix", ["", "a/b", "a/b/"])
def test_others_can_read_a_bucket_by_its_names(bucket: Bucket, nowhere: Ledger, prefix: str) -> None:
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
def test_wrong_keys_are_one_line_that_says_which(
    bucket: Bucket,
    nowhere: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3Server,
    *,
    name: str,
    why: str,
) -> None:
    if s3.name != "Ceph":
        pytest.skip("moto checks no keys")
    monkeypatch.setenv(name, "WRONG")
    storage = open_storage(bucket.uri(""), nowhere)
    with pytest.raises(StorageError, match=rf"^cannot write s3://{bucket.name}/jobs/[^\n]+: {why}$"):
        storage.write_once(JOB, "manifest", 0, b"x")
    with pytest.raises(StorageError, match=rf"^cannot read s3://{bucket.name}/jobs/[^\n]+: {why}$"):
        storage.read(JOB, "manifest", 0)


@pytest.mark.usefixtures("s3_env")
def test_no_keys_at_all_is_one_line_that_says_what_to_set(
    bucket: Bucket, nowhere: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        open_storage(bucket.uri(""), nowhere).write_once(JOB, "manifest", 0, b"x")


@pytest.mark.usefixtures("s3_env")
def test_a_missing_bucket_is_one_line(bucket: Bucket, nowhere: Ledger) -> None:
    storage = open_storage(f"s3://{bucket.name}-no/prefix", nowhere)
    with pytest.raises(StorageError, match=r"^cannot write s3://[^\n]+: no such bucket: make it$"):
        storage.write_once(JOB, "results", 0, b"x")
    with pytest.raises(StorageError, match=r"^cannot read s3://[^\n]+: no such bucket: make it$"):
        storage.read(JOB, "results", 0)


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    ("name", "value"), [("AWS_PROFILE", "not-there"), ("AWS_ENDPOINT_URL", "no URL"), ("AWS_ENDPOINT_URL", "localhost")]
)
def test_wrong_settings_of_boto3_are_one_line(
    nowhere: Ledger, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^S3: [^\n]+{value}[^\n]+{name}"):
        open_storage("s3://bucket", nowhere)


@pytest.mark.usefixtures("s3_env")
def test_an_s3_that_does_not_answer_is_one_line(nowhere: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match=r"^cannot write [^\n]+Could not connect[^\n]+127\.0\.0\.1:1[^\n]+$"):
        open_storage("s3://bucket", nowhere).write_once(JOB, "manifest", 0, b"x")


# Storages that are none


@pytest.mark.parametrize("url", ["http://store/x", "redis://localhost", "s3://", "s3:///prefix", "file://host/data"])
def test_a_home_that_is_none_is_a_settings_error(nowhere: Ledger, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"^FIQA_STORAGE: '{url}' [^\n]+$"):
        open_storage(url, nowhere)


def test_a_redis_home_without_redis_is_one_line(nowhere: Ledger) -> None:
    storage = open_storage("redis", nowhere)
    for act in (lambda: storage.write_once(JOB, "results", 0, b"x"), lambda: storage.read(JOB, "results", 0)):
        with pytest.raises(RedisUnavailableError, match=r"^cannot reach Redis at redis://127\.0\.0\.1:1/0 [^\n]+$"):
            act()
