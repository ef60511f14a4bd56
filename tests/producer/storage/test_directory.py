from __future__ import annotations

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from fiqa.errors import StorageError
from fiqa.ledger.connection import Connection
from fiqa.storage.storage import open_storage
from tests.producer.storage.jobs import JOB


def test_a_folder_can_be_named_in_several_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: Connection
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "a #1?"
    names = [str(folder), "./a #1?", "./x/../a #1?", "~/a #1?", folder.as_uri()]
    assert {open_storage(name, nowhere).url for name in names} == {str(folder)}


def test_other_tools_find_the_files_of_a_folder_by_their_names(tmp_path: Path, nowhere: Connection) -> None:
    open_storage(str(tmp_path), nowhere).write_once(JOB, "results", 17, b"x")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "jobs" / JOB / "results" / "00000017.jsonl.gz"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_no_file_behind(tmp_path: Path, nowhere: Connection) -> None:
    storage = open_storage(str(tmp_path), nowhere)
    storage.write_once(JOB, "results", 0, b"first")
    storage.write_once(JOB, "results", 0, b"second")
    target = tmp_path / "jobs" / JOB / "job.json"
    target.mkdir()
    with pytest.raises(StorageError, match=rf"^cannot write {re.escape(str(target))}: Is a directory"):
        storage.write_document(JOB, "job", b"x")
    left = {path.relative_to(target.parent).as_posix() for path in target.parent.rglob("*")}
    assert left == {"job.json", "results", "results/00000000.jsonl.gz"}


def test_a_job_is_deleted_even_while_a_submit_writes_to_it(tmp_path: Path, nowhere: Connection) -> None:
    storage = open_storage(str(tmp_path), nowhere)
    for chunk in range(300):
        storage.write_once(JOB, "manifest", chunk, b"x")

    def write(chunk: int) -> None:
        with suppress(StorageError):  # its folder was deleted while it wrote
            storage.write_once(JOB, "manifest", chunk, b"x")

    with ThreadPoolExecutor(1) as pool:
        writes = pool.map(write, range(300, 600))
        storage.delete(JOB)
        list(writes)
    storage.delete(JOB)
    assert not (tmp_path / "jobs" / JOB).exists()


def test_the_error_for_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, nowhere: Connection) -> None:
    (tmp_path / "file").touch()
    storage = open_storage(str(tmp_path / "file"), nowhere)
    with pytest.raises(
        StorageError, match=r"^cannot write [^\n]+/file/jobs/[^\n]+: Not a directory: [^\n]*FIQA_STORAGE$"
    ):
        storage.write_once(JOB, "manifest", 0, b"x")
    with pytest.raises(StorageError, match=r"^cannot read [^\n]+: Not a directory$"):
        storage.read(JOB, "manifest", 0)
