"""Files are read within the allowed folders and limits, and each error names its cause."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fiqa_worker.errors import (
    AccessDenied,
    NotFound,
    SourceNotAllowed,
    TooLarge,
)
from tests.worker.pipeline.fetching import BODY, fetcher


# Files
@pytest.mark.parametrize("name", ["a.jpg", "a b.jpg", "100%.jpg", "写真?#+.jpg", os.fsdecode(b"\xff.jpg")])
def test_a_file_is_read_by_the_uri_that_pathlib_writes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BODY)

    assert fetcher(tmp_path.as_uri()).fetch((tmp_path / name).as_uri()) == BODY


def test_a_link_is_followed_inside_the_allowed_folder_and_not_out_of_it(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "a.jpg").write_bytes(BODY)
    (inside / "link.jpg").symlink_to("a.jpg")
    (inside / "escape.jpg").symlink_to(outside / "a.jpg")
    (inside / "escape").symlink_to(outside)
    (tmp_path / "root").symlink_to(inside)

    assert fetcher(inside.as_uri()).fetch((inside / "link.jpg").as_uri()) == BODY
    assert fetcher((tmp_path / "root").as_uri()).fetch((tmp_path / "root" / "a.jpg").as_uri()) == BODY
    for path in ("escape.jpg", "escape/a.jpg"):
        with pytest.raises(SourceNotAllowed):
            fetcher(inside.as_uri()).fetch((inside / path).as_uri())


def test_other_than_regular_files_are_not_found_and_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "file.txt").touch()
    allowed = fetcher(tmp_path.as_uri())

    for name in ("pipe.jpg", "loop.jpg", "missing.jpg", "file.txt/a.jpg", "x" * 300, "a%00.jpg", ""):
        with pytest.raises(NotFound, match="no such file"):
            allowed.fetch(f"{tmp_path.as_uri()}/{name}")


def test_a_file_that_the_user_may_not_read_is_access_denied(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(BODY)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(AccessDenied, match="may not read"):
            fetcher(tmp_path.as_uri()).fetch(path.as_uri())
    finally:
        os.seteuid(user)


def test_a_file_over_the_limit_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1000))

    assert fetcher(tmp_path.as_uri(), max_bytes=1000).fetch(path.as_uri()) == bytes(1000)
    with pytest.raises(TooLarge, match="1,000 bytes, and at most 999 are allowed"):
        fetcher(tmp_path.as_uri(), max_bytes=999).fetch(path.as_uri())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_file_that_is_longer_than_its_reported_size_is_too_large() -> None:
    assert Path("/proc/self/status").stat().st_size == 0

    with pytest.raises(TooLarge):
        fetcher("file:///proc", max_bytes=100).fetch("file:///proc/self/status")
