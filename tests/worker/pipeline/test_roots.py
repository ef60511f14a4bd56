"""The roots of sources: which roots exist, and when a whole root cannot be read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fiqa_worker.errors import NotFound, SourceUnavailable
from fiqa_worker.pipeline.roots import Roots, allows
from tests.dead_folder import dead, needs_fuse
from tests.worker.pipeline.fetching import BODY, fetcher

ALLOWED = ("s3://", "file:///data", "file:///data/a%20b/")


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("s3://bucket/a/b.jpg", "s3://bucket"),
        ("s3://bucket", "s3://bucket"),
        ("file:///data/x/1.jpg", "file:///data"),
        ("file:///data/a%20b/1.jpg", "file:///data/a%20b/"),
        ("file:///data/a b/1.jpg", "file:///data/a%20b/"),
        ("file:///database/1.jpg", "file://"),
        ("http://host/1.jpg", "http://"),
    ],
)
def test_the_root_of_a_uri_is_its_bucket_or_the_innermost_allowed_folder(uri: str, root: str) -> None:
    assert Roots(ALLOWED).root_of(uri) == root


def test_a_worker_may_read_what_is_below_its_allowed_sources() -> None:
    allowed = ("s3://photos/2024", "file:///data/a%20b")
    readable = ("s3://photos/2024/1.jpg", "file:///data/a b/1.jpg", "file:///data/a%20b/1.jpg")
    refused = ("s3://photos/2023/1.jpg", "s3://photos/20240/1.jpg", "file:///data/1.jpg", "http://host/1.jpg")
    assert all(allows(allowed, uri) for uri in readable)
    assert not any(allows(allowed, uri) for uri in refused)


def unavailable(root: Path, file: str = "1.jpg") -> str:
    """Return the reason why a source cannot be read at all."""
    with pytest.raises(SourceUnavailable) as refused:
        fetcher(root.as_uri()).fetch((root / file).as_uri())
    assert refused.value.root == root.as_uri()
    assert str(refused.value) == f"cannot read {root.as_uri()}: {refused.value.reason}"
    return refused.value.reason


def test_a_folder_that_does_not_exist_lacks_every_file(tmp_path: Path) -> None:
    assert unavailable(tmp_path / "gone") == "does not exist on this machine: is the share mounted?"
    assert unavailable(tmp_path / "gone", "a/b/1.jpg") == "does not exist on this machine: is the share mounted?"


def test_a_folder_that_is_empty_lacks_every_file(tmp_path: Path) -> None:
    assert unavailable(tmp_path, "a/1.jpg") == "is empty on this machine: is the share mounted?"


def test_a_file_that_is_missing_from_a_folder_with_others_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "2.jpg").write_bytes(BODY)
    with pytest.raises(NotFound):
        fetcher(tmp_path.as_uri()).fetch((tmp_path / "1.jpg").as_uri())


def test_a_missing_file_that_is_listed_itself_is_not_found(tmp_path: Path) -> None:
    uri = (tmp_path / "1.jpg").as_uri()
    with pytest.raises(NotFound):
        fetcher(uri).fetch(uri)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which takes root")
def test_a_folder_that_was_mounted_and_is_not_any_more_lacks_every_file(tmp_path: Path) -> None:
    (tmp_path / "below.txt").touch()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        (tmp_path / "1.jpg").write_bytes(BODY)
        reader = fetcher(tmp_path.as_uri())
        uri = (tmp_path / "1.jpg").as_uri()
        assert reader.fetch(uri) == BODY
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
    with pytest.raises(SourceUnavailable, match="is not mounted any more on this machine"):
        reader.fetch(uri)


@needs_fuse
def test_a_share_that_does_not_answer_holds_up_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with dead(tmp_path / "dead") as folder:
        roots = Roots((folder.as_uri(), tmp_path.as_uri()))
    assert roots.root_of((folder / "a.jpg").as_uri()) == folder.as_uri()
    assert caplog.messages == [f"{folder} does not answer: images below it will end as fetch_timeout"]
