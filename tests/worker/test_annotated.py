from __future__ import annotations

from pathlib import Path

import pytest

from fiqa.contract import ImageResult, Item
from fiqa.errors import OutputError
from fiqa_worker.annotated import SUFFIXES, Names, annotated
from fiqa_worker.errors import NotFound
from fiqa_worker.pipeline.fetch import Fetcher
from tests.producer.faceless import no_face
from tests.producer.results.pages import result
from tests.worker.pipeline.images import portrait_jpeg


def names(sources: list[str], *uris: str) -> list[str]:
    named = Names(sources)
    return [named.of(uri) for uri in uris]


def test_an_image_keeps_its_path_below_the_source_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    inside = tmp_path / "a b" / "x" / "1.png"
    assert names([str(tmp_path / "a b")], inside.as_uri()) == ["x/1.png"]
    assert names([(tmp_path / "a b").as_uri()], inside.as_uri()) == ["x/1.png"]
    assert names([str(inside)], inside.as_uri()) == ["1.png"]
    assert names(["s3://b/photos/"], "s3://b/photos/2026/1.jpg", "s3://c/2026/1.jpg") == ["2026/1.jpg", "1.jpg"]
    assert names(["list.txt"], "s3://b/photos/2026/1.jpg") == ["1.jpg"]


def test_names_are_never_used_twice() -> None:
    found = names(["list.txt"], "s3://a/1.jpg", "s3://b/1.jpg", "s3://c/1.JPG", "s3://d/1-2.jpg", "s3://e/1.gif")
    assert found == ["1.jpg", "1-2.jpg", "1-3.JPG", "1-2-2.jpg", "1.gif.jpg"]


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd.jpg",
        "/abs.jpg",
        "a/./b//c.jpg",
        "..",
        "",
        "n\0ul.jpg",
        "x" * 900 + ".png",
        "\u00e9" * 500,
        "a\nb.jpg",
    ],
)
def test_a_hostile_key_stays_below_the_folder(key: str, tmp_path: Path) -> None:
    (name,) = names(["s3://b/"], f"s3://b/{key}")
    target = tmp_path / name
    assert not Path(name).is_absolute()
    assert ".." not in target.parts
    assert target.suffix.lower() in SUFFIXES
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"")


def test_an_image_that_is_gone_or_too_large_for_its_format_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(portrait_jpeg())
    fetcher = Fetcher(["file:///"], max_bytes=1 << 20)
    found: ImageResult = result(path.as_uri(), 0.5)
    assert annotated(found, ".png", fetcher, max_pixels=1 << 20).startswith(b"\x89PNG")
    assert annotated(no_face(Item(uri=path.as_uri())), ".bmp", fetcher, max_pixels=1 << 20).startswith(b"BM")
    with pytest.raises(OutputError, match=r"512 x 512 pixels cannot be written as \.what"):
        annotated(found, ".what", fetcher, max_pixels=1 << 20)
    path.unlink()
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(NotFound):
        annotated(found, ".png", fetcher, max_pixels=1 << 20)
