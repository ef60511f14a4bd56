from __future__ import annotations

import gzip
import io
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fiqa.contract import MAX_ID_CHARS, MAX_URI_CHARS, Item
from fiqa.errors import SourceError
from fiqa.sources.left_out import LeftOut
from fiqa.sources.manifest import STDIN, read_source
from fiqa.sources.text import split_lines
from tests.conftest import Bucket


def refuse(error: SourceError) -> None:
    raise error


def uris(*sources: str | Path) -> list[str]:
    return [item.uri for item in read_source([str(source) for source in sources], on_bad_line=refuse)]


def read_with_errors(source: Path) -> tuple[list[str], list[str]]:
    errors: list[str] = []
    items = read_source([str(source)], on_bad_line=lambda error: errors.append(str(error)))
    return [item.uri for item in items], errors


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# Folders and single images


def test_a_folder_is_read_recursively_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.JPEG", "sub/2.png", "sub/10.webp", "sub/deep/x.tiff", "another/y.avif")
    found = [Path(uri.removeprefix("file://")).relative_to(tmp_path).as_posix() for uri in uris(tmp_path)]
    assert found == ["a.JPEG", "b.jpg", "another/y.avif", "sub/10.webp", "sub/2.png", "sub/deep/x.tiff"]


def left_out_of(*sources: str | Path) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    items = read_source([str(source) for source in sources], on_bad_line=refuse, left_out=left_out)
    return [item.uri for item in items], left_out


def test_what_a_folder_leaves_out_is_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.jpg", ".b.jpg", ".hidden/c.jpg", "notes.txt", "jpg", "a.jpg.part", "d.DNG", "e.dng", "e.jpg/f.bmp"
    )
    touch(tmp_path, ".DS_Store", "x.\x1b[31m", "sub/y.dng")
    (tmp_path / "link").symlink_to(tmp_path / "sub", target_is_directory=True)
    found, left_out = left_out_of(tmp_path)
    assert found == uris(tmp_path) == [(tmp_path / "a.jpg").as_uri(), (tmp_path / "e.jpg/f.bmp").as_uri()]
    others = {"hidden file": 1, "hidden folder": 1, "linked folder": 1, "other file": 2}
    assert left_out.counts == {".dng": 3, ".txt": 1, ".part": 1} | others
    assert str(left_out).startswith("3 .dng, 2 other files, 1 ")
    assert f"1 linked folder ({tmp_path / 'link'})" in str(left_out)


def test_a_folder_of_many_kinds_is_one_short_line(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.a{number}" for number in range(300)))
    _, left_out = left_out_of(tmp_path)
    assert len(left_out.counts) <= 101
    assert left_out.counts.total() == 300
    assert len(str(left_out)) < 300


SYSTEM_FOLDERS = (
    *("@eaDir", "#recycle", "@Recycle", "#snapshot", "~snapshot", ".snapshot", ".Trash", ".Trash-1000", ".Trashes"),
    *("lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", ".@__thumb", "@Recently-Snapshot"),
)


def test_folders_that_systems_make_for_themselves_are_left_out(tmp_path: Path) -> None:
    for name in SYSTEM_FOLDERS:
        touch(tmp_path, f"{name}/a.jpg", f"sub/{name}/deep/b.jpg", f"x{name}x/c.jpg" if name[0] != "." else "y.jpg")
    found, left_out = left_out_of(tmp_path)
    kept = ["y.jpg", *(f"x{name}x/c.jpg" for name in SYSTEM_FOLDERS if name[0] != ".")]
    assert sorted(found) == sorted((tmp_path / name).as_uri() for name in kept)
    assert left_out.counts == {"system folder": 2 * len(SYSTEM_FOLDERS)}
    # A source that is named is read.
    assert uris(tmp_path / "@eaDir") == [(tmp_path / "@eaDir/a.jpg").as_uri()]


@contextmanager
def as_another_user() -> Iterator[Path]:
    """Yield a folder, and check permissions as they are for everybody but root."""
    folder = Path(tempfile.mkdtemp(prefix="fiqa-test-"))
    is_root = os.geteuid() == 0
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for parent, _, _ in os.walk(folder):
            Path(parent).chmod(0o755)
        shutil.rmtree(folder)


def test_folders_that_may_not_be_read_are_left_out_and_the_rest_goes_on() -> None:
    with as_another_user() as folder:
        touch(folder, "a.jpg", "private/b.jpg", "sub/private/c.jpg", "z/d.jpg")
        for name in ("private", "sub/private"):
            (folder / name).chmod(0)
        if os.geteuid() == 0:
            os.seteuid(65534)
        found, left_out = left_out_of(folder)
        assert found == [(folder / name).as_uri() for name in ("a.jpg", "z/d.jpg")]
        assert str(left_out) == f"2 unreadable folders (the first is {folder / 'private'})"
        with pytest.raises(SourceError, match=f"^{folder / 'private'}: Permission denied$"):
            uris(folder / "private")


def test_a_folder_that_is_removed_while_it_is_walked_ends_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg", "z/c.jpg")
    items = read_source([str(tmp_path)], on_bad_line=refuse)
    assert next(items).uri == (tmp_path / "a.jpg").as_uri()
    shutil.rmtree(tmp_path / "sub")
    assert [item.uri for item in items] == [(tmp_path / "z/c.jpg").as_uri()]


def test_the_uri_of_any_file_name_leads_back_to_the_file(tmp_path: Path) -> None:
    names = ["a b.jpg", "50%.jpg", "x#y?.jpg", "日本.jpg", "line\nbreak.jpg", os.fsdecode(b"latin-\xe9.jpg")]
    touch(tmp_path, *names)
    found = uris(tmp_path)
    assert all(uri.isascii() and uri.isprintable() for uri in found)
    assert sorted(found) == sorted((tmp_path / name).as_uri() for name in names)


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


@pytest.mark.parametrize("source", ["s3://KEY:SECRET@b/x/", "s3://KEY:SECRET@b/a.jpg", "https://u:SECRET@b/?x=SECRET"])
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


def test_a_folder_that_links_back_to_itself_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "sub/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "c.jpg").symlink_to(tmp_path / "a.jpg")
    assert uris(tmp_path) == [(tmp_path / name).as_uri() for name in ("a.jpg", "c.jpg", "sub/b.jpg")]


def test_an_empty_folder_has_no_items(tmp_path: Path) -> None:
    assert uris(tmp_path) == []


# Lists


@pytest.mark.parametrize("name", ["list.txt", "LIST.TXT", "a.b.lst", "x.list", "x.jsonl", "x.ndjson"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_suffix_tells_what_a_list_is_and_it_may_be_compressed(
    tmp_path: Path, name: str, *, compressed: bool
) -> None:
    path = tmp_path / (name + ".gz" if compressed else name)
    content = b's3://b/1.jpg\n{"uri": "s3://b/2"}\n'
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert uris(path) == ["s3://b/1.jpg", "s3://b/2"]


def test_a_list_can_come_from_any_editor(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"\xef\xbb\xbfs3://b/first.jpg\r\n"
        b"# a comment\r\n"
        b"\r\n"
        b"   s3://b/with space.jpg  \r\n"
        b"file:///data/a.jpg\n"
        b"s3://b/caf\xc3\xa9.jpg\n"
        b"s3://b/last.jpg"
    )
    assert uris(path) == [
        "s3://b/first.jpg",
        "s3://b/with space.jpg",
        "file:///data/a.jpg",
        "s3://b/café.jpg",
        "s3://b/last.jpg",
    ]


def test_paths_of_a_list_are_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text(
        'a b.jpg\n/data/c.jpg\n{"uri": "sub/d.jpg"}\n[old]/e.jpg\n"f".jpg\n./s3:g.jpg\ns3/h.jpg\n'
    )
    assert uris("list.txt") == [
        (tmp_path / "a b.jpg").as_uri(),
        "file:///data/c.jpg",
        (tmp_path / "sub/d.jpg").as_uri(),
        (tmp_path / "[old]/e.jpg").as_uri(),
        (tmp_path / '"f".jpg').as_uri(),
        (tmp_path / "s3:g.jpg").as_uri(),
        (tmp_path / "s3/h.jpg").as_uri(),
    ]


def test_json_lines_may_have_the_callers_id(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"uri": "s3://b/1", "id": "one", "label": [1, 2]}\n'
        '{"source-ref": "s3://b/2", "id": 2}\n'
        '{"uri": "s3://b/3", "id": null}\n'
        '{"uri": "s3://b/4"}\n'
    )
    assert list(read_source([str(path)], on_bad_line=refuse)) == [
        Item(uri="s3://b/1", id="one"),
        Item(uri="s3://b/2", id="2"),
        Item(uri="s3://b/3"),
        Item(uri="s3://b/4"),
    ]


def test_a_bad_line_is_reported_with_its_number_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    bad: list[tuple[bytes, str]] = [
        (b'{"uri": "s3://b/x"', ": not JSON: expecting ',' delimiter at character 19"),
        (b"{x}", ": not JSON: expecting property name enclosed in double quotes at character 2"),
        (b'{"uri', ": not JSON: unterminated string starting at character 2"),
        (b"[]", "a JSON line is an object with `uri` or `source-ref`"),
        (b'["a.jpg"]', "a JSON line is an object"),
        (b'"s3://b/x"', "a JSON line is an object"),
        (b"[" * 60_000, "recursion"),
        (b"s3:/oops/a.jpg", "write s3://bucket/key"),
        (b"s3:bucket/a.jpg", "write s3://bucket/key"),
        (b"S3:/oops/a.jpg", "write s3://bucket/key"),
        (b"file:/x.jpg", "write file:///path"),
        (b'{"source-ref": "file:x.jpg"}', "write file:///path"),
        (b"{}", "`uri` or `source-ref`"),
        (b'{"uri": ""}', "`uri` or `source-ref`"),
        (b'{"uri": ["s3://b/x"]}', "`uri` or `source-ref`"),
        (b'{"uri": "s3://b/x", "id": 1.5}', "id: "),
        (b'{"uri": "s3://b/x", "id": "%s"}' % (b"x" * (MAX_ID_CHARS + 1)), "id: "),
        (b'{"uri": "s3://b/\\ud800"}', "unicode"),
        (b'{"uri": %s' % (b"[" * 60_000), "recursion"),
        (b"s3://b/" + b"x" * MAX_URI_CHARS, "uri: "),
        (b"s3://b/" + b"x" * 300_000, "longer than 65536 bytes"),
        (b"https://host/a.jpg?sig=x", "workers read s3:// and file:///, not https://"),
        (b'{"uri": "gs://bucket/a.jpg"}', "not gs://"),
        (b"s3://b/\xff", "not UTF-8"),
        (b"\xfe\xff\x00s", "not UTF-8"),
        (b"nul\0.jpg", "NUL byte"),
        (b"s3://b/nul\0.jpg", "NUL byte"),
        (b'{"uri": "nul\\u0000.jpg"}', "NUL byte"),
        (b'{"uri": "s3://b/nul\\u0000.jpg"}', "NUL byte"),
        (bytes(tmp_path / "loop"), "loop"),
        (b"[", "a JSON array: write one JSON object on each line"),
        (b"],", "a JSON array: write one JSON object on each line"),
        (b'{"uri": "s3://b/x", "id": true}', "id: text or a whole number, not true"),
        (b'{"uri": "s3://b/x", "id": false}', "id: text or a whole number, not false"),
        (b'{"uri": "s3://b/x", "id": [1]}', "id: text or a whole number, not [1]"),
        (b"'s3://b/x.jpg'", "it is quoted: write it without the quotes"),
        (b"'/data/x.jpg'", "it is quoted"),
        (b"`x.jpg`", "it is quoted"),
        ("\u201cx.jpg\u201d".encode(), "it is quoted"),
        (b"<s3://b/x.jpg>", "it is quoted"),
        (b'"s3://b/x.jpg",', "it holds a URI and does not begin with it: write the URI alone"),
        (b"- s3://b/x.jpg", "it holds a URI and does not begin with it"),
        ("\u200bs3://b/x.jpg".encode(), "it holds a URI and does not begin with it"),
        (b'{"uri": " s3://b/x.jpg"}', "it holds a URI and does not begin with it"),
        (b"s3://b/x.jpg\tAnn", "it holds a tab or a carriage return"),
        (b"/data/x.jpg\tAnn", "it holds a tab"),
        (b"/data/x\r.jpg", "it holds a tab or a carriage return"),
        (b"uri,id", "titles of a CSV: let the name of the file end in .csv"),
        (b"Path", "titles of a CSV"),
        (b"s3://b", "it names no image"),
        (b"s3://b/", "it names no image"),
        (b"s3://b/prefix/", "it names no image"),
        (b"s3:///x.jpg", "it names no image"),
        (b"file:///", "it names no image"),
    ]
    path = tmp_path / "list.txt"
    path.write_bytes(b"s3://b/good\n" + b"".join(line + b"\ns3://b/good\n" for line, _ in bad))

    good, errors = read_with_errors(path)

    assert good == ["s3://b/good"] * (len(bad) + 1)
    assert [error.partition(": ")[0] for error in errors] == [f"{path}, line {2 * n}" for n in range(1, len(bad) + 1)]
    for error, (_, part) in zip(errors, bad, strict=True):
        assert part in error
        assert "\n" not in error


def test_a_long_last_line_without_an_end_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"s3://b/good\n" + b"x" * 200_000)
    assert read_with_errors(path) == (["s3://b/good"], [f"{path}, line 2: longer than 65536 bytes"])


def test_the_reader_can_stop_at_the_first_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("s3://b/1\n{\ns3://b/2\n")
    with pytest.raises(SourceError, match="line 2"):
        uris(path)


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


def test_an_image_that_is_listed_twice_is_two_items(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://b/1\ns3://b/2\ns3://b/1\n")
    assert uris(tmp_path / "list.txt") == ["s3://b/1", "s3://b/2", "s3://b/1"]


@pytest.mark.parametrize("content", ["", "\n\n  \n", "# nothing\n"])
def test_an_empty_list_has_no_items(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.txt").write_text(content)
    assert uris(tmp_path / "list.txt") == []


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


# S3 Batch Operations CSV


@pytest.mark.parametrize("compressed", [False, True])
def test_a_csv_has_bucket_key_and_version(tmp_path: Path, *, compressed: bool) -> None:
    path = tmp_path / ("batch.csv.gz" if compressed else "batch.csv")
    content = (
        b"\xef\xbb\xbfimages,a.jpg\r\n"
        b'"images","deep/er/b.jpg"\r\n'
        b"\r\n"
        b"images,caf%C3%A9+1%2B1%2C.jpg,3sL4kqtJlcpXroDTDmJ\n"
        b"images,no-suffix,null\n"
        b"images,#hash%23.jpg,\n"
        b'images,"quoted "" , .jpg",v2'
    )
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert list(read_source([str(path)], on_bad_line=refuse)) == [
        Item(uri="s3://images/a.jpg"),
        Item(uri="s3://images/deep/er/b.jpg"),
        Item(uri="s3://images/café 1+1,.jpg", version="3sL4kqtJlcpXroDTDmJ"),
        Item(uri="s3://images/no-suffix", version="null"),
        Item(uri="s3://images/#hash#.jpg"),
        Item(uri='s3://images/quoted " , .jpg', version="v2"),
    ]


@pytest.mark.parametrize(
    ("content", "items"),
    [
        ("uri,id\ns3://b/1.jpg,one\ns3://b/2.jpg,\n", [("s3://b/1.jpg", "one"), ("s3://b/2.jpg", None)]),
        ("ID,URL\n1.0,s3://b/1.jpg\n", [("s3://b/1.jpg", "1.0")]),
        ("filename,person\n/data/a.jpg,Ann\n", [("file:///data/a.jpg", None)]),
        ('"label","file name"\n"x, y","/data/a,b.jpg"\n', [("file:///data/a%2Cb.jpg", None)]),
        (",path\n0,/data/a.jpg\n", [("file:///data/a.jpg", None)]),
        ("path;id\n/data/a.jpg;ä;\n", "line 2: 3 columns, but 2 titles"),
        ("path;id\n/data/a.jpg;ä\n", [("file:///data/a.jpg", "ä")]),
        ("uri\tid\ns3://b/1.jpg\t7\n", [("s3://b/1.jpg", "7")]),
        ("uri\ns3://b/1.jpg\nuri\ns3://b/2.jpg\n", [("s3://b/1.jpg", None), ("s3://b/2.jpg", None)]),
        ("source-ref,Class\ns3://b/1.jpg,3\n", [("s3://b/1.jpg", None)]),
        ("uri,uri\ns3://b/1.jpg,s3://b/2.jpg\n", [("s3://b/1.jpg", None)]),
        ("key,size,bucket,id\na%20b.jpg,10,images,x\n", [("s3://images/a b.jpg", "x")]),
        ("url\nhttps://example.org/a.jpg\n", "line 2: workers read s3:// and file:///, not https://"),
        ("id,uri\n7,\n", "line 2: the uri is empty"),
        ("image,person\na.jpg,Ann\n", "line 1: 'image,person' looks like titles, and none says where the images are. "),
        ("col1,col2\na,b\n", "line 1: 'col1,col2' looks like titles, "),
        ("name;label;age\na;b;c\n", "line 1: 'name;label;age' looks like titles, "),
        ("images,a.jpg,10\n", "line 1: '10' is not a version: for an S3 Inventory pass its manifest.json"),
        ("images,a.jpg,2026-01-01T00:00:00.000Z\n", "is not a version: for an S3 Inventory"),
        ("images,a.jpg,STANDARD\n", "is not a version: for an S3 Inventory"),
        ("images,a.jpg,d41d8cd98f00b204e9800998ecf8427e\n", "is not a version: for an S3 Inventory"),
        ("images,folder/\n", "the key is that of a folder"),
        ("s3://b/1.jpg,Ann\n", "'s3://b/1.jpg' cannot be a bucket"),
    ],
)
def test_a_csv_may_have_columns_of_its_own(
    tmp_path: Path, content: str, items: list[tuple[str, str | None]] | str
) -> None:
    path = tmp_path / "own.csv"
    path.write_text(content)
    if isinstance(items, str):
        with pytest.raises(SourceError, match=re.escape(items)) as caught:
            uris(path)
        assert str(caught.value).startswith(f"{path}, line ")
    else:
        assert [(item.uri, item.id) for item in read_source([str(path)], on_bad_line=refuse)] == items


@pytest.mark.parametrize(
    "versions", ["null", "3sL4kqtJlcpXroDTDmJ", "1360887759327000", "6902bcbd-e248-4b4d-8529-bf26d2dbdc63"]
)
def test_a_version_is_not_taken_for_another_column(tmp_path: Path, versions: str) -> None:
    path = tmp_path / "batch.csv"
    path.write_text(f"images,a.jpg,{versions}\n")
    assert list(read_source([str(path)], on_bad_line=refuse)) == [Item(uri="s3://images/a.jpg", version=versions)]


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["x.csv", "x.txt", "x.txt.gz"])
def test_text_of_any_editor_is_read(tmp_path: Path, encoding: str, end: str, name: str) -> None:
    path = tmp_path / name
    row, found = ("images,{}.jpg", "s3://images/{}.jpg") if name == "x.csv" else ("s3://b/{}.jpg", "s3://b/{}.jpg")
    numbers = [*range(9_000), "é\U0001f600"]
    mark = "\ufeff" if encoding.endswith("e") else ""
    data = (mark + end.join(row.format(number) for number in numbers)).encode(encoding)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert uris(path) == [found.format(number) for number in numbers]
    path.write_bytes(gzip.compress(data + end.encode(encoding)) if name.endswith(".gz") else data)
    assert len(uris(path)) == len(numbers)


def test_the_error_for_utf_16_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("s3://b/1.jpg\n".encode("utf-16")[:-1])
    with pytest.raises(SourceError, match=rf"^{path}: it begins as UTF-16(-LE)? and is damaged or cut off$"):
        uris(path)


def test_lines_are_as_long_and_as_many_whatever_the_pieces_they_are_read_in() -> None:
    class Pieces(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(random.randint(1, 7))  # noqa: S311  no secret

    for end in (b"\n", b"\r\n", b"\r"):
        lines = [b"a", b"", b"bb", b"x" * 70_000, b"ccc" * 9, b"", b"d"]
        expected = [None if len(line) > 65_536 else line for line in lines]
        assert list(split_lines(Pieces(end.join(lines)))) == expected
        assert list(split_lines(Pieces(end.join(lines) + end))) == expected
    assert list(split_lines(Pieces(b"a\nb\rc\n"))) == [b"a", b"b\rc"]


@pytest.mark.parametrize(
    "content",
    [
        '[\n  {"uri": "s3://b/1.jpg"},\n  {"uri": "s3://b/2.jpg"}\n]\n',
        '[{"uri": "s3://b/1.jpg"}]',
        '\n \n["s3://b/1.jpg",\n"s3://b/2.jpg"]',
        "[]",
    ],
)
def test_the_error_for_a_json_array_says_how_to_write_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.jsonl").write_text(content)
    with pytest.raises(SourceError, match=r"a JSON array: write one JSON object on each line, .* jq -c '.\[\]'$"):
        uris(tmp_path / "list.jsonl")


@pytest.mark.parametrize("titles", ["Bucket,Key", "bucket,key,version_id", '"Bucket","Key","VersionId"'])
def test_the_titles_of_a_csv_are_skipped(tmp_path: Path, titles: str) -> None:
    path = tmp_path / "batch.csv"
    path.write_text(f"{titles}\nimages,a.jpg\n{titles}\nimages,b.jpg\n")
    assert uris(path) == ["s3://images/a.jpg", "s3://images/b.jpg"]


def test_a_bad_row_is_reported_with_its_number_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad: list[tuple[bytes, str]] = [
        (b"s3://images/a.jpg", "1 columns, not Bucket,Key or Bucket,Key,VersionId: a list of URIs ends in .txt"),
        (b'"images","a.jpg","v","true"', "4 columns, not Bucket,Key or Bucket,Key,VersionId: for an S3 Inventory pass"),
        (b"images,", "the key is empty"),
        (b",a.jpg", "'' cannot be a bucket"),
        (b"s3://images,a.jpg", "'s3://images' cannot be a bucket"),
        (b"images,%FF.jpg", "not UTF-8"),
        (b"images,\xff.jpg", "not UTF-8"),
        (b"images,a%00\0.jpg", "NUL byte"),
        (b"images,a%00.jpg", "NUL byte"),
        (b'images,"a.jpg', "unexpected end of data"),
        (b"images," + b"x" * MAX_URI_CHARS, "uri: "),
        (b"images,a.jpg," + b"x" * 1025, "version: "),
        (b"images," + b"x" * 70_000, "longer than 65536 bytes"),
    ]
    path = tmp_path / "batch.csv"
    path.write_bytes(b"images,good.jpg\n" + b"".join(line + b"\nimages,good.jpg\n" for line, _ in bad))

    good, errors = read_with_errors(path)

    assert good == ["s3://images/good.jpg"] * (len(bad) + 1)
    assert [error.partition(": ")[0] for error in errors] == [f"{path}, line {2 * n}" for n in range(1, len(bad) + 1)]
    for error, (_, part) in zip(errors, bad, strict=True):
        assert part in error
        assert "\n" not in error


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
        ("list.json", "not an S3 Inventory manifest"),
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
    keys = [f"images/{number:04}.jpg" for number in range(1003)]
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
def test_a_bad_line_in_s3_is_reported_with_its_number_and_the_rest_goes_on(bucket: Bucket) -> None:
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
