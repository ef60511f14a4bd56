from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from fiqa.errors import MissingDependencyError, SourceError
from fiqa.sources.left_out import LeftOut
from fiqa.sources.manifest import read_source
from tests.conftest import Bucket

pytestmark = pytest.mark.usefixtures("s3_env")

ALL_VERSIONS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
PARQUET_SCHEMA = "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); }"


def refuse(error: SourceError) -> None:
    raise error


def uris(source: str | Path) -> list[str]:
    return [item.uri for item in read_source([str(source)], on_bad_line=refuse)]


def manifest(bucket: Bucket, data: dict[str, bytes], *, form: str = "CSV", schema: str, **other: Any) -> bytes:
    """Store the data files as Amazon does. Return the manifest.json that names them."""
    for key, content in data.items():
        bucket.put(key, content)
    fields = {
        "sourceBucket": "images",
        "destinationBucket": f"arn:aws:s3:::{bucket.name}",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": form,
        "fileSchema": schema,
        "files": [
            {"key": key, "size": len(content), "MD5checksum": hashlib.md5(content, usedforsecurity=False).hexdigest()}
            for key, content in data.items()
        ],
    }
    return json.dumps(fields | other).encode()


def csv_gz(*rows: str) -> bytes:
    # Without the time of day: these bytes are in tests' names, which must be the same in every process.
    return gzip.compress("".join(f"{row}\n" for row in rows).encode(), mtime=0)


def parquet_file(rows: Sequence[dict[str, Any]], **options: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), file, **options)
    return file.getvalue()


# CSV


@pytest.mark.parametrize("place", ["here", "here, compressed", "in S3", "in S3, compressed"])
def test_an_inventory_is_read_from_the_bucket_it_names_wherever_its_manifest_is(
    bucket: Bucket, tmp_path: Path, place: str
) -> None:
    data = {
        "inv/images/all/data/1.csv.gz": csv_gz('"images","a.jpg","10"', '"images","b/caf%C3%A9+1%2B1%2C.JPG","20"'),
        "inv/images/all/data/2.csv.gz": csv_gz('"images","c.png","30"'),
    }
    content = manifest(bucket, data, schema="Bucket, Key, Size")
    name = "manifest.json.gz" if "compressed" in place else "manifest.json"
    content = gzip.compress(content) if "compressed" in place else content
    path = tmp_path / name
    path.write_bytes(content)
    source = path if "here" in place else bucket.put(f"inv/images/all/2026-01-01T00-00Z/{name}", content)
    assert uris(source) == ["s3://images/a.jpg", "s3://images/b/café 1+1,.JPG", "s3://images/c.png"]


def test_deleted_objects_old_versions_and_other_files_are_skipped(bucket: Bucket) -> None:
    rows = [
        '"images","kept.jpg","v3","true","false","10","2026-01-01T00:00:00.000Z","etag"',
        '"images","kept.jpg","v2","false","false","10","2026-01-01T00:00:00.000Z","etag"',
        '"images","deleted.jpg","v2","true","true","","2026-01-01T00:00:00.000Z",""',
        '"images","deleted.jpg","v1","false","false","10","2026-01-01T00:00:00.000Z","etag"',
        '"images","notes.txt","v1","true","false","10","2026-01-01T00:00:00.000Z","etag"',
        '"images","folder/","","true","false","0","2026-01-01T00:00:00.000Z","etag"',
        '"images","%40eaDir/kept.jpg/thumb.jpg","","true","false","0","2026-01-01T00:00:00.000Z","etag"',
    ]
    left_out = LeftOut()
    source = bucket.put("manifest.json", manifest(bucket, {"d.csv.gz": csv_gz(*rows)}, schema=ALL_VERSIONS))
    (item,) = read_source([source], on_bad_line=refuse, left_out=left_out)
    assert (item.uri, item.version) == ("s3://images/kept.jpg", None)
    assert left_out.counts == {"old version": 2, "deleted object": 1, ".txt": 1, "system file": 1}


def test_an_empty_inventory_has_no_items(bucket: Bucket) -> None:
    assert uris(bucket.put("manifest.json", manifest(bucket, {}, schema="Bucket, Key"))) == []
    empty = manifest(bucket, {"d.csv.gz": csv_gz()}, schema="Bucket, Key")
    assert uris(bucket.put("manifest.json", empty)) == []


def test_a_bad_row_is_reported_with_its_file_and_number_and_the_rest_is_read(bucket: Bucket) -> None:
    rows = ['"images","a.jpg"', '"images","b.jpg","1"', '"images","%FF.jpg"', '"images","c.jpg', '"images","d.jpg"']
    source = bucket.put("manifest.json", manifest(bucket, {"d.csv.gz": csv_gz(*rows)}, schema="Bucket, Key"))
    errors: list[SourceError] = []
    found = [item.uri for item in read_source([source], on_bad_line=errors.append)]
    assert found == ["s3://images/a.jpg", "s3://images/d.jpg"]
    data = bucket.uri("d.csv.gz")
    assert [str(error) for error in errors] == [
        f"{data}, line 2: 3 columns, but 2 in the manifest's fileSchema",
        f"{data}, line 3: not UTF-8",
        f"{data}, line 4: unexpected end of data",
    ]


# Parquet


def test_parquet_files_are_read_row_group_by_row_group(bucket: Bucket) -> None:
    rows = [
        {
            "bucket": "images",
            "key": f"50%25 + é/{number:05}.{'jpg' if number % 7 else 'txt'}",
            "version_id": "v",
            "is_latest": number % 5 != 0,
            "is_delete_marker": number % 11 == 0,
            "size": number,
        }
        for number in range(20_000)
    ]
    data = {"d/1.parquet": parquet_file(rows, row_group_size=1000), "d/2.parquet": parquet_file(rows[:3])}
    source = bucket.put("manifest.json", manifest(bucket, data, form="Parquet", schema=PARQUET_SCHEMA))
    wanted = [number for number in range(20_000) if number % 7 and number % 5 and number % 11]
    assert uris(source) == [f"s3://images/50%25 + é/{number:05}.jpg" for number in [*wanted, 1, 2]]


def test_parquet_files_need_only_two_columns(bucket: Bucket) -> None:
    data = {"d.parquet": parquet_file([{"key": b"a.jpg", "bucket": b"images"}])}
    source = bucket.put("manifest.json", manifest(bucket, data, form="Parquet", schema=PARQUET_SCHEMA))
    assert uris(source) == ["s3://images/a.jpg"]


def test_a_bad_row_of_parquet_is_reported_with_its_number_and_the_rest_is_read(bucket: Bucket) -> None:
    rows: list[dict[str, Any]] = [
        {"bucket": "images", "key": "a.jpg"},
        {"bucket": None, "key": "b.jpg"},
        {"bucket": "images", "key": None},
        {"bucket": "images", "key": "c.jpg"},
    ]
    content = manifest(bucket, {"d.parquet": parquet_file(rows)}, form="Parquet", schema=PARQUET_SCHEMA)
    errors: list[SourceError] = []
    found = [item.uri for item in read_source([bucket.put("manifest.json", content)], on_bad_line=errors.append)]
    assert found == ["s3://images/a.jpg", "s3://images/c.jpg"]
    assert [str(error) for error in errors] == [f"{bucket.uri('d.parquet')}, row 2: '' cannot be a bucket"]


def test_the_error_for_parquet_without_pyarrow_says_what_to_install(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"d.parquet": parquet_file([{"bucket": "images", "key": "a.jpg"}])}
    source = bucket.put("manifest.json", manifest(bucket, data, form="Parquet", schema=PARQUET_SCHEMA))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingDependencyError, match=r"^s3://\S+/d\.parquet is Parquet: pip install 'fiqa\[parquet\]'$"
    ):
        uris(source)


def test_the_error_for_a_parquet_file_that_changes_while_it_is_read_is_one_line(bucket: Bucket) -> None:
    rows = [{"bucket": "images", "key": f"{number:0900}.jpg"} for number in range(20_000)]
    data = {"d.parquet": parquet_file(rows, row_group_size=1000, compression="none", use_dictionary=False)}
    assert len(data["d.parquet"]) > 18_000_000
    source = bucket.put("manifest.json", manifest(bucket, data, form="Parquet", schema=PARQUET_SCHEMA))
    items = read_source([source], on_bad_line=refuse)
    next(items)
    bucket.put("d.parquet", data["d.parquet"][::-1])
    with pytest.raises(SourceError, match=r"^cannot read s3://\S+: it changed while it was read: begin again$"):
        list(items)


# What cannot be read


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"fileFormat": "ORC"}, "ORC files cannot be read: configure the inventory to be CSV or Parquet"),
        ({"fileSchema": "Bucket, Size"}, "fileSchema 'Bucket, Size' lacks Bucket or Key"),
        ({"files": None}, "not an S3 Inventory manifest, files: Input should be a valid array"),
        ({"files": [{"key": "none.csv.gz", "size": 1}]}, "none.csv.gz: no such object"),
        ({"destinationBucket": "arn:aws:s3:::a b"}, "Invalid bucket name"),
    ],
)
def test_the_error_for_a_manifest_that_cannot_be_read_is_one_line(
    bucket: Bucket, fields: dict[str, Any], why: str
) -> None:
    content = manifest(bucket, {"d.csv.gz": csv_gz('"images","a.jpg"')}, schema="Bucket, Key", **fields)
    source = bucket.put("manifest.json", content)
    with pytest.raises(SourceError) as caught:
        uris(source)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (csv_gz('"images","b.jpg"', '"images","c.jpg"'), "bytes, but"),
        (csv_gz('"images","b.jpg"'), "its MD5 is not the one in the manifest: was it replaced?"),
    ],
)
def test_the_error_for_a_data_file_that_does_not_match_the_manifest_is_one_line(
    bucket: Bucket, content: bytes, why: str
) -> None:
    source = bucket.put(
        "manifest.json", manifest(bucket, {"d.csv.gz": csv_gz('"images","a.jpg"')}, schema="Bucket, Key")
    )
    bucket.put("d.csv.gz", content)
    with pytest.raises(SourceError, match=why) as caught:
        uris(source)
    assert str(caught.value).startswith(bucket.uri("d.csv.gz"))


@pytest.mark.parametrize(
    ("form", "key", "content", "why"),
    [
        ("CSV", "d.csv.gz", csv_gz('"images","a.jpg"')[:-9], "end-of-stream"),
        ("CSV", "d.csv.gz", b'"images","a.jpg"\n', "Not a gzipped file"),
        ("Parquet", "d.parquet", b"no parquet", "Parquet"),
        ("Parquet", "d.parquet", parquet_file([{"key": "a.jpg"}]), "there is no column bucket"),
        ("Parquet", "d.parquet", parquet_file([{"bucket": "images", "key": b"\xff.jpg"}]), "UTF8"),
    ],
)
def test_the_error_for_a_damaged_data_file_is_one_line(
    bucket: Bucket, form: str, key: str, content: bytes, why: str
) -> None:
    schema = "Bucket, Key" if form == "CSV" else PARQUET_SCHEMA
    source = bucket.put("manifest.json", manifest(bucket, {key: content}, form=form, schema=schema))
    with pytest.raises(SourceError, match=why) as caught:
        uris(source)
    assert str(caught.value).startswith(bucket.uri(key))
    assert "\n" not in str(caught.value)
