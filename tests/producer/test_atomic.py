from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa.atomic import write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    assert write_atomically(path, [b"one ", b"two"])
    assert path.read_bytes() == b"one two"
    assert mode(path) == 0o644


def test_a_file_is_replaced_unless_it_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_atomically(path, [b"first"], once=True) is True
    assert write_atomically(path, [b"second"], once=True) is False
    assert path.read_bytes() == b"first"
    assert write_atomically(path, [b"third"]) is True
    assert path.read_bytes() == b"third"
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_write_a_file_once_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda number: write_atomically(path, [b"%d" % number], once=True), range(8)))
    assert wrote.count(True) == 1
    assert path.read_bytes() == b"%d" % wrote.index(True)


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def parts() -> Iterator[bytes]:
        yield b"ne"
        assert path.read_bytes() == b"old"
        yield b"w"

    write_atomically(path, parts())
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("once", [False, True])
def test_a_write_that_fails_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, *, once: bool) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise LookupError

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(LookupError):
        write_atomically(path, parts(), once=once)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_permissions_are_taken_from_another_file(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    other.chmod(0o640)
    path = tmp_path / "file"
    write_atomically(path, [b""], like=other.stat())
    assert mode(path) == 0o640


def test_a_folder_that_cannot_be_made_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_atomically(tmp_path / "file" / "below", [b"x"])


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files and folders that were synced to disk, under the names that they had then."""
    paths: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_a_durable_file_and_each_new_folder_have_their_names_on_disk(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "jobs" / "results" / "file"
    write_atomically(path, [b"x"])
    temporary, *folders = synced
    assert temporary.startswith(f"{path.parent}/.file.")
    assert folders == [str(path.parent), str(tmp_path / "jobs"), str(tmp_path)]

    synced.clear()
    write_atomically(path, [b"y"], once=True)  # who wrote it may have died before its fsync
    assert synced[1:] == [str(path), str(path.parent)]

    synced.clear()
    write_atomically(path, [b"z"], durable=False)
    assert synced == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_one_of_many_writes_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda number: write_atomically(path, [b"%d" % number], once=True), range(8)))
    assert wrote.count(True) == 1
    assert path.read_bytes() == b"%d" % wrote.index(True)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_fails_for_another_reason_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="full"):
        write_atomically(tmp_path / "file", [b"x"], once=True)
    assert list(tmp_path.iterdir()) == []
