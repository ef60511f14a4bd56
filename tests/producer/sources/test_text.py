from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from fiqa.errors import SourceError
from fiqa.sources.text import split_lines
from tests.producer.sources.reading import uris

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


def test_lines_are_the_same_whatever_pieces_they_are_read_in() -> None:
    class Pieces(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(random.choice((1, 2, 3, 7, 5_000)))  # noqa: S311  no secret

    for end in 5 * (b"\n", b"\r\n", b"\r"):
        lines = [b"a", b"", b"bb", b"x" * 70_000, b"ccc" * 9, b"", b"d"]
        expected = [None if len(line) > 65_536 else line for line in lines]
        assert list(split_lines(Pieces(end.join(lines)))) == expected
        assert list(split_lines(Pieces(end.join(lines) + end))) == expected
    assert list(split_lines(Pieces(b"a\nb\rc\n"))) == [b"a", b"b\rc"]
