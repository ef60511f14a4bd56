from __future__ import annotations

import gzip
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa.contract import Item
from fiqa.errors import SourceError
from fiqa.sources.manifest import STDIN, read_source
from tests.conftest import Bucket
from tests.producer.sources.reading import left_out_of, read_with_errors, refuse, touch, uris


def test_a_relative_folder_becomes_absolute_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "images/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert (
        uris("images") == uris("images/a.jpg") == uris("./images/../images") == [(tmp_path / "images/a.jpg").as_uri()]
    )


def test_several_sources_are_read_in_order_and_may_repeat(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.gif")
    assert uris(tmp_path / "b.gif", tmp_path, tmp_path / "b.gif") == [
        (tmp_path / name).as_uri() for name in ("b.gif", "a.jpg", "b.gif", "b.gif")
    ]


def test_a_file_uri_is_a_source(tmp_path: Path) -> None:
    touch(tmp_path, "x y/a.jpg")
    (tmp_path / "list é.txt").write_text("s3://b/1.jpg\n")
    assert uris((tmp_path / "x y").as_uri()) == uris((tmp_path / "x y/a.jpg").as_uri()) == uris(tmp_path)
    assert uris((tmp_path / "list é.txt").as_uri()) == ["s3://b/1.jpg"]


@pytest.mark.parametrize(
    "source",
    ["s3://KEY:SECRET@b/x/", "s3://KEY:SECRET@b/a.jpg", "s3://KEY:/SECRET@b/a.jpg", "https://u:SECRET@b/?x=SECRET"],
)
def test_no_secret_of_a_uri_is_shown(source: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        uris(source)
    assert "SECRET@" not in str(caught.value)
    assert "=SECRET" not in str(caught.value)
    (tmp_path / "list.txt").write_text(f"{source}\n")
    _, (error,) = read_with_errors(tmp_path / "list.txt")
    assert "SECRET@" not in error


def test_a_single_source_needs_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert list(read_source(str(tmp_path), on_bad_line=refuse)) == [Item(uri=(tmp_path / "a.jpg").as_uri())]


# Lists
@pytest.mark.parametrize("name", ["list.txt", "LIST.TXT", "a.b.lst", "x.list", "x.jsonl", "x.ndjson"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_suffix_shows_what_a_list_is_and_it_may_be_compressed(
    tmp_path: Path, name: str, *, compressed: bool
) -> None:
    path = tmp_path / (name + ".gz" if compressed else name)
    content = b's3://b/1.jpg\n{"uri": "s3://b/2"}\n'
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert uris(path) == ["s3://b/1.jpg", "s3://b/2"]


def test_a_list_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b's3://b/1\n{"uri": "s3://b/2"}\n\xff\n')))
    errors: list[SourceError] = []
    assert [item.uri for item in read_source([STDIN], on_bad_line=errors.append)] == ["s3://b/1", "s3://b/2"]
    assert [str(error) for error in errors] == ["standard input, line 3: not UTF-8"]


def test_a_compressed_list_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as feeder:
        feeder.write(gzip.compress(b"s3://b/1\ns3://b/2\n"))
    with os.fdopen(reader, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert uris(STDIN) == ["s3://b/1", "s3://b/2"]


def test_a_list_is_streamed_and_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as stdin, os.fdopen(writer, "wb", buffering=0) as feeder:
        monkeypatch.setattr("sys.stdin", stdin)
        items = read_source([STDIN], on_bad_line=refuse)
        for number in range(3):
            feeder.write(b"s3://b/%d\n" % number)
            assert next(items).uri == f"s3://b/{number}"


@pytest.mark.parametrize("change", ["grows", "is written over"])
def test_the_error_for_a_list_that_changes_while_it_is_read_is_one_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text("s3://b/1\ns3://b/2\n")
    os.utime(path, (1, 1))
    items = read_source([str(path)], on_bad_line=refuse)
    assert next(items).uri == "s3://b/1"
    with path.open("a" if change == "grows" else "r+") as file:
        file.write("s3://b/3\n")
    with pytest.raises(SourceError, match=rf"^{path}: it changed while it was read: begin again$"):
        list(items)


def test_a_list_that_is_replaced_by_another_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("s3://b/1\ns3://b/2\n")
    items = read_source([str(path)], on_bad_line=refuse)
    assert next(items).uri == "s3://b/1"
    (tmp_path / "new").write_text("s3://b/3\n")
    (tmp_path / "new").rename(path)
    assert [item.uri for item in items] == ["s3://b/2"]


# Sources that cannot be read
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("missing", "No such file"),
        ("missing.txt", "No such file"),
        ("x" * 300, "too long"),
        ("loop", "symbolic links"),
        ("notes.md", "neither a folder, nor an image, nor a list"),
        ("image.jpg.gz", "neither a folder, nor an image, nor a list"),
        ("none.txt.gz", "gzip"),
        ("cut.txt.gz", "end-of-stream"),
        ("damaged.txt.gz", "decompressing"),
        ("https://example.org/a.jpg", "download the images, or copy them to S3"),
        ("file:x.jpg", "write file:///path"),
        ("file:/x.jpg", "write file:///path"),
        ("file://host/x.jpg", "write file:///path"),
        ("s3://", "names no bucket"),
        ("s3:///prefix/", "names no bucket"),
        ("s3://bucket/prefix", "a prefix ends in a slash: s3://bucket/prefix/"),
        ("s3://bucket/a.jpg.gz", "neither an image, nor a list"),
        ("unreadable.txt", "Input/output error"),
        ("list.json", "not an S3 Inventory manifest, Input should be"),
        ("null.json", "not an S3 Inventory manifest"),
    ],
)
def test_the_error_for_a_source_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    compressed = gzip.compress(os.urandom(4000).hex().encode())
    (tmp_path / "notes.md").touch()
    (tmp_path / "image.jpg.gz").touch()
    (tmp_path / "none.txt.gz").write_bytes(b"s3://b/1\n")
    (tmp_path / "cut.txt.gz").write_bytes(compressed[:-100])
    (tmp_path / "damaged.txt.gz").write_bytes(compressed[:10] + b"\xff" * 100 + compressed[110:])
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "unreadable.txt").symlink_to("/proc/self/mem")
    (tmp_path / "list.json").write_text('[{"uri": "s3://b/1"}]')
    (tmp_path / "null.json").write_text("null")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        uris(source)
    assert str(caught.value).startswith(source)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_for_a_closed_standard_input_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        uris(STDIN)


# S3
@pytest.mark.usefixtures("s3_env")
def test_an_s3_prefix_is_its_images_and_nothing_else(bucket: Bucket) -> None:
    keys = [f"images/{number:04}.jpg" for number in range(23)]
    with ThreadPoolExecutor(8) as pool:
        others = ["images/notes.TXT", "images/", "images-private/a.jpg", "top.png", "images/@eaDir/0.jpg/thumb.jpg"]
        list(pool.map(lambda key: bucket.put(key, b""), keys + others))
    found, left_out = left_out_of(bucket.uri("images/"))
    assert sorted(found) == [bucket.uri(key) for key in keys]
    assert left_out.counts == {".txt": 1, "system file": 1}
    assert uris(bucket.uri("images/@eaDir/")) == [bucket.uri("images/@eaDir/0.jpg/thumb.jpg")]
    everything = [bucket.uri(key) for key in ["images-private/a.jpg", *keys, "top.png"]]
    assert sorted(uris(bucket.uri(""))) == sorted(uris(f"s3://{bucket.name}")) == everything


@pytest.mark.usefixtures("s3_env")
def test_s3_keys_stay_as_they_are(bucket: Bucket) -> None:
    keys = sorted(["a b.jpg", "50%20.jpg", "x#y?z.jpg", "日本.jpg", "plus+.jpg", "deep/er/k.PNG"])
    for key in keys:
        bucket.put(key, b"")
    assert sorted(uris(bucket.uri(""))) == [bucket.uri(key) for key in keys]


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("compressed", [False, True])
def test_lists_can_be_in_s3(bucket: Bucket, *, compressed: bool) -> None:
    lists = {
        "lists/a.txt": b"s3://b/1.jpg\ns3://b/2.jpg",
        "b.jsonl": b'{"uri": "s3://b/3.jpg"}\r\n',
        "c d.csv": b"images,4.jpg\nimages,5.jpg\n",
        "empty.txt": b"",
    }
    ending = ".gz" if compressed else ""
    sources = [
        bucket.put(key + ending, gzip.compress(content) if compressed else content) for key, content in lists.items()
    ]
    found = ["s3://b/1.jpg", "s3://b/2.jpg", "s3://b/3.jpg", "s3://images/4.jpg", "s3://images/5.jpg"]
    assert uris(*sources) == found


@pytest.mark.usefixtures("s3_env")
def test_a_bad_line_in_s3_is_reported_with_its_number_and_the_rest_is_read(bucket: Bucket) -> None:
    source = bucket.put("list.txt", b"s3://b/1.jpg\n{\ns3://b/2.jpg\n")
    errors: list[SourceError] = []
    assert [item.uri for item in read_source([source], on_bad_line=errors.append)] == ["s3://b/1.jpg", "s3://b/2.jpg"]
    assert [str(error).partition(": ")[0] for error in errors] == [f"{source}, line 2"]


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("missing.txt", "cannot read .*: no such object"),
        ("none.txt.gz", "Not a gzipped file"),
        ("cut.txt.gz", "end-of-stream"),
    ],
)
def test_the_error_for_a_list_in_s3_that_cannot_be_read_is_one_line(bucket: Bucket, key: str, why: str) -> None:
    bucket.put("none.txt.gz", b"s3://b/1\n")
    bucket.put("cut.txt.gz", gzip.compress(b"s3://b/1\n")[:-9])
    with pytest.raises(SourceError, match=why) as caught:
        uris(bucket.uri(key))
    assert bucket.uri(key) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_s3_image_is_not_looked_up() -> None:
    assert uris("s3://bucket/a b/c.JPG") == ["s3://bucket/a b/c.JPG"]


@pytest.mark.usefixtures("s3_env")
def test_the_error_for_a_missing_bucket_is_one_line(bucket: Bucket) -> None:
    with pytest.raises(
        SourceError, match=rf"^cannot list s3://{bucket.name}-no/: no such bucket: check its name, or make it$"
    ):
        uris(f"s3://{bucket.name}-no/")


@pytest.mark.usefixtures("s3_env")
def test_the_error_for_an_impossible_bucket_name_says_the_name() -> None:
    with pytest.raises(SourceError, match=r'^cannot list [^\n]+Invalid bucket name "a b"'):
        uris("s3://a b/")
