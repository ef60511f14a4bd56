from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fiqa.errors import SourceError
from fiqa.sources.manifest import read_source
from tests.producer.sources.reading import left_out_of, refuse, touch, uris


# Folders and single images
def test_a_folder_is_read_recursively_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.JPEG", "sub/2.png", "sub/10.webp", "sub/deep/x.tiff", "another/y.avif")
    found = [Path(uri.removeprefix("file://")).relative_to(tmp_path).as_posix() for uri in uris(tmp_path)]
    assert found == ["a.JPEG", "b.jpg", "another/y.avif", "sub/10.webp", "sub/2.png", "sub/deep/x.tiff"]


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


def test_folders_that_may_not_be_read_are_left_out_and_the_rest_is_read() -> None:
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


def test_a_folder_that_links_back_to_itself_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "sub/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "c.jpg").symlink_to(tmp_path / "a.jpg")
    assert uris(tmp_path) == [(tmp_path / name).as_uri() for name in ("a.jpg", "c.jpg", "sub/b.jpg")]


def test_an_empty_folder_has_no_items(tmp_path: Path) -> None:
    assert uris(tmp_path) == []
