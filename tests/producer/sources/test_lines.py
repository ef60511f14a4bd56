from __future__ import annotations

from pathlib import Path

import pytest

from fiqa.contract import MAX_ID_CHARS, MAX_URI_CHARS, Item
from fiqa.errors import SourceError
from fiqa.sources.manifest import read_source
from tests.producer.sources.reading import read_with_errors, refuse, uris


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


def test_a_bad_line_is_reported_with_its_number_and_the_rest_is_read(tmp_path: Path) -> None:
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


def test_an_image_that_is_listed_twice_is_two_items(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://b/1\ns3://b/2\ns3://b/1\n")
    assert uris(tmp_path / "list.txt") == ["s3://b/1", "s3://b/2", "s3://b/1"]


@pytest.mark.parametrize("content", ["", "\n\n  \n", "# nothing\n"])
def test_an_empty_list_has_no_items(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.txt").write_text(content)
    assert uris(tmp_path / "list.txt") == []


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
