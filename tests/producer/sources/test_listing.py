from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from fiqa.errors import SourceError
from fiqa.s3 import s3_client
from fiqa.sources import listing
from fiqa.sources.listing import ObjectReader, list_objects
from tests.conftest import Bucket
from tests.servers import S3Server

pytestmark = pytest.mark.usefixtures("s3_env")

PAGE: Final = 50


def fill(bucket: Bucket, keys: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.put(key, b""), keys))


# Listing


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server answer with pages of 50 keys. Its own have 1,000, which take long to write."""

    def client(**options: Any) -> Any:
        made = s3_client(**options)
        made.meta.events.register(
            "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": PAGE}
        )
        return made

    monkeypatch.setattr(listing, "s3_client", client)


def test_one_page_of_keys_comes_in_order(bucket: Bucket) -> None:
    fill(bucket, ["b", "a/2", "a/10", "c/"])
    assert list(list_objects(bucket.name, "")) == ["a/10", "a/2", "b", "c/"]
    assert list(list_objects(bucket.name, "a/")) == ["a/10", "a/2"]
    assert list(list_objects(bucket.name, "none/")) == []


@pytest.mark.usefixtures("small_pages")
def test_all_keys_of_many_pages_are_listed_whatever_the_keys_are(bucket: Bucket) -> None:
    odd = [
        "p/",
        "p/a/",
        "p/a",
        "p/a//b",
        "p//",
        "p//x",
        "p///y/",
        "p/日本/ü.jpg",
        "p/日本/",
        "p/50%25 +&?#.jpg",
        "p/\U0001f600",
    ]
    flat = [f"p/flat/{number:04}.jpg" for number in range(2 * PAGE + 10)]
    deep = [f"p/{number % 40}/{number % 3}/x{number}.jpg" for number in range(120)]
    fill(bucket, [*odd, *flat, *deep, "q/not-this", "p", "pp/nor-this"])
    assert sorted(list_objects(bucket.name, "p/")) == sorted([*odd, *flat, *deep])


@pytest.mark.usefixtures("small_pages")
def test_all_keys_are_listed_if_there_are_more_sub_prefixes_than_fit_on_a_page(bucket: Bucket) -> None:
    keys = [f"user{number}/a.jpg" for number in range(PAGE + 5)]
    fill(bucket, keys)
    assert sorted(list_objects(bucket.name, "")) == sorted(keys)


@pytest.mark.usefixtures("small_pages")
def test_a_reader_that_has_enough_keys_leaves_no_thread(bucket: Bucket) -> None:
    fill(bucket, [f"{number % 4}/{number}" for number in range(PAGE + 1)])
    keys = list_objects(bucket.name, "")
    assert len(list(islice(keys, 10))) == 10
    assert isinstance(keys, Generator)
    keys.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("list")]


# Objects as files


def test_an_object_is_read_like_a_file(bucket: Bucket) -> None:
    content = os.urandom(20_000_000)
    bucket.put("a b/ü", content)
    raw = ObjectReader(bucket.name, "a b/ü")
    assert (raw.name, raw.size) == (f"s3://{bucket.name}/a b/ü", len(content))
    file, same = io.BufferedReader(raw), io.BytesIO(content)
    for offset, whence, count in [
        (0, io.SEEK_SET, 4),
        (-8, io.SEEK_END, 8),
        (8_388_600, io.SEEK_SET, 100),
        (-50, io.SEEK_CUR, 9_000_000),
        (30_000_000, io.SEEK_SET, 10),
        (1, io.SEEK_SET, -1),
    ]:
        assert file.seek(offset, whence) == same.seek(offset, whence)
        assert file.read(count) == same.read(count)
        assert file.tell() == same.tell()


def test_an_empty_object_is_an_empty_file(bucket: Bucket) -> None:
    bucket.put("empty", b"")
    assert io.BufferedReader(ObjectReader(bucket.name, "empty")).read() == b""


def test_the_error_for_an_object_that_changes_while_it_is_read_is_one_line(bucket: Bucket) -> None:
    uri = bucket.put("list.txt", bytes(9_000_000))
    file = io.BufferedReader(ObjectReader(bucket.name, "list.txt"))
    assert file.read(1000) == bytes(1000)
    bucket.put("list.txt", b"\1" * 9_000_000)
    with pytest.raises(SourceError, match=rf"^cannot read {uri}: it changed while it was read: begin again$"):
        file.read()


def test_the_error_for_an_object_that_is_deleted_while_it_is_read_is_one_line(bucket: Bucket) -> None:
    uri = bucket.put("list.txt", bytes(9_000_000))
    file = io.BufferedReader(ObjectReader(bucket.name, "list.txt"))
    assert file.read(1000) == bytes(1000)
    bucket.client.delete_object(Bucket=bucket.name, Key="list.txt")
    with pytest.raises(SourceError, match=rf"^cannot read {uri}: no such object: was it deleted\?$"):
        file.read()


def test_the_error_for_a_missing_object_is_one_line(bucket: Bucket) -> None:
    with pytest.raises(SourceError, match=rf"^cannot read s3://{bucket.name}/none: no such object or bucket$"):
        ObjectReader(bucket.name, "none")


@contextmanager
def cutting_proxy(server: S3Server, *, cuts: int, after: int) -> Iterator[tuple[str, list[int]]]:
    """Start a proxy that cuts the first `cuts` long answers. Yield its URL, and the bytes that each cut answer had."""
    target = urlsplit(server.endpoint)
    cut: list[int] = []

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection((target.hostname, target.port)) as upstream:
            threading.Thread(target=forward, args=(client, upstream), daemon=True).start()
            sent = 0
            with suppress(OSError):
                while data := upstream.recv(65536):
                    client.sendall(data)
                    sent += len(data)
                    if len(cut) < cuts and sent > after:
                        # Counted before the client can see it.
                        cut.append(sent)
                        client.shutdown(socket.SHUT_RDWR)
                        break

    def forward(client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                upstream.sendall(data)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", cut
        listener.shutdown(socket.SHUT_RDWR)


def test_a_cut_connection_costs_one_range(bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(10_000_000)
    bucket.put("big", content)
    with cutting_proxy(s3, cuts=2, after=1_000_000) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert io.BufferedReader(ObjectReader(bucket.name, "big")).read() == content


def test_the_error_for_a_connection_that_is_cut_each_time_is_one_line(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put("big", bytes(10_000_000))
    with cutting_proxy(s3, cuts=100, after=1_000_000) as (url, cut):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(SourceError, match=rf"^cannot read {uri}: [^\n]+$"):
            io.BufferedReader(ObjectReader(bucket.name, "big")).read()
    assert len(cut) == 3
