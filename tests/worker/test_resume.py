"""What of an unfinished file of results counts as done, and what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa_producer.contract import ImageResult, Item, Status
from fiqa_producer.errors import SettingsError
from fiqa_worker.resume import done_in, left_of


def line(uri: str, version: str | None = None) -> bytes:
    result = ImageResult(uri=uri, version=version, status=Status.NO_FACE, detector="d", quality_model="q")
    return result.encode() + b"\n"


def test_what_has_a_result_is_not_done_again_and_a_line_that_was_cut_off_is(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    whole = line("s3://b/1") + line("s3://b/2", "old") + line("s3://b/3")
    path.write_bytes(whole + line("s3://b/4")[:-1])
    items = [
        *(Item(uri=f"s3://b/{number}") for number in (1, 2, 3, 3, 4, 5)),
        Item(uri="s3://b/2", version="old"),
        Item(uri="s3://b/1", id="another"),
    ]

    left = list(left_of(items, done_in(path)))

    # Another version, the second of two, the one cut off, a new one, and another id.
    assert [item.uri[-1] for item in left] == ["2", "3", "4", "5", "1"]
    assert path.read_bytes() == whole


def test_where_there_is_no_file_all_is_left(tmp_path: Path) -> None:
    items = [Item(uri="s3://b/1")]
    assert list(left_of(items, done_in(tmp_path / "results.jsonl"))) == items


@pytest.mark.parametrize("content", [b"uri,status\n", b'{"uri": "s3://b/1"}\n', b"\n", b"\xff\xd8\xff\n", b'{"theme":'])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line("s3://b/1") + content)
    with pytest.raises(SettingsError, match=r"holds something else than results: choose another file$"):
        done_in(path)
    assert path.read_bytes() == line("s3://b/1") + content


def test_what_cannot_be_gone_on_with_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^[^\n]+ is no file: --resume goes on with one$"):
        done_in(tmp_path)
