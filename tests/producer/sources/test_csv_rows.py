from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from fiqa.contract import MAX_URI_CHARS, Item
from fiqa.errors import SourceError
from fiqa.sources.manifest import read_source
from tests.producer.sources.reading import read_with_errors, refuse, uris


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


@pytest.mark.parametrize("titles", ["Bucket,Key", "bucket,key,version_id", '"Bucket","Key","VersionId"'])
def test_the_titles_of_a_csv_are_skipped(tmp_path: Path, titles: str) -> None:
    path = tmp_path / "batch.csv"
    path.write_text(f"{titles}\nimages,a.jpg\n{titles}\nimages,b.jpg\n")
    assert uris(path) == ["s3://images/a.jpg", "s3://images/b.jpg"]


def test_a_bad_row_is_reported_with_its_number_and_the_rest_is_read(tmp_path: Path) -> None:
    bad: list[tuple[bytes, str]] = [
        (b"s3://images/a.jpg", "1 column, not Bucket,Key or Bucket,Key,VersionId: a list of URIs ends in .txt"),
        (b'"images","a.jpg","v","true"', "4 columns, not Bucket,Key or Bucket,Key,VersionId: for an S3 Inventory pass"),
        (b"images,", "the key is empty"),
        (b",a.jpg", "'' cannot be a bucket"),
        (b"s3://images,a.jpg", "'s3://images' cannot be a bucket"),
        (b"images,%FF.jpg", "not UTF-8"),
        (b"images,\xff.jpg", "not UTF-8"),
        (b"images,a%00\0.jpg", "NUL byte"),
        (b"images,a%00.jpg", "NUL byte"),
        (b'images,"a.jpg', "a quoted value does not end on this line"),
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


def test_a_value_with_a_line_end_gives_no_item_and_the_next_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text('uri,id\n"s3://b/1\nmiddle\n.jpg",1\ns3://b/2.jpg,"2 "" 3"\n')
    found, errors = read_with_errors(path)
    assert found == ["s3://b/2.jpg"]
    assert [error.partition(", line ")[2][:40] for error in errors] == [
        "2: a quoted value does not end on this l",
        "3: a quoted value of a row above goes on",
        "4: a quoted value of a row above goes on",
    ]


def test_a_table_may_end_in_tsv(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    path.write_text("uri\tid\ns3://b/1.jpg\t7\n")
    assert list(read_source(str(path), on_bad_line=refuse)) == [Item(uri="s3://b/1.jpg", id="7")]
