from __future__ import annotations

import gzip
import threading
import zlib
from contextlib import closing

import pytest

from fiqa.errors import StorageError
from fiqa.storage.shards import pack, read_items, read_shards, unpack
from fiqa.storage.storage import Storage
from tests.producer.storage.jobs import JOB, OTHER_JOB


@pytest.mark.parametrize("lines", [[], [b"{}"], [b'{"a": 1}', "ü\u2028\x85".encode(), b""], [b"x" * 1000] * 5000])
def test_a_shard_unpacks_to_the_lines_that_were_packed(lines: list[bytes]) -> None:
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
    monkeypatch.setattr("fiqa.storage.shards._MAX_SHARD_BYTES", 1000)
    assert len(unpack(pack([b"x" * 998]))[0]) == 998
    with pytest.raises(StorageError, match="larger than fiqa writes"):
        unpack(pack([b"x" * 1_000_000]))


def two_lines(number: int) -> list[bytes]:
    return [b'{"uri":"%d"}' % number, b'{"uri":"end"}']


def test_chunks_are_listed_in_order_and_read_in_the_order_asked_for(storage: Storage) -> None:
    assert storage.chunks(JOB, "results") == []
    numbers = [*range(25), 1000, 99_999_999]
    for number in reversed(numbers):
        storage.write_once(JOB, "results", number, pack(two_lines(number)))
    storage.write_once(JOB, "manifest", 77, b"")
    storage.write_once(OTHER_JOB, "results", 78, b"")
    assert storage.chunks(JOB, "results") == numbers
    asked = [1000, *range(24, -1, -1)]
    assert list(read_shards(storage, JOB, "results", asked)) == [(number, two_lines(number)) for number in asked]


def test_reading_stops_at_a_shard_that_is_missing(storage: Storage) -> None:
    storage.write_once(JOB, "manifest", 0, pack([b"0"]))
    shards = read_shards(storage, JOB, "manifest", [0, 1])
    assert next(shards) == (0, [b"0"])
    with pytest.raises(StorageError, match=r"^[^\n]+$"):
        next(shards)


def test_a_damaged_shard_is_named_wherever_it_is_read(storage: Storage) -> None:
    storage.write_once(JOB, "manifest", 16, pack([b"{}"]))
    storage.write_once(JOB, "manifest", 17, b"garbage")
    damaged = rf"^manifest 17 of job {JOB} is damaged: [^\n]+$"
    with pytest.raises(StorageError, match=damaged):
        read_items(storage, JOB, 17, 0)
    shards = read_shards(storage, JOB, "manifest", [16, 17])
    assert next(shards) == (16, [b"{}"])
    with pytest.raises(StorageError, match=damaged):
        next(shards)


def test_a_reader_that_has_enough_leaves_no_thread(storage: Storage) -> None:
    for chunk in range(20):
        storage.write_once(JOB, "manifest", chunk, pack([b"{}"]))
    with closing(read_shards(storage, JOB, "manifest", range(20))) as shards:
        assert next(shards) == (0, [b"{}"])
        assert [thread for thread in threading.enumerate() if thread.name.startswith("read")]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read")]
