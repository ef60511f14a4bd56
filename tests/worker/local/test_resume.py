"""Which images of an unfinished results file are done, and which are left."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pytest

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, Item, Status
from fiqa.errors import OutputError, UsageError
from fiqa_worker.local.resume import Earlier, held


def line(uri: str, version: str | None = None, failed: ErrorCode | None = None, quality_model: str = "q") -> bytes:
    error = ImageError(code=failed, message="why") if failed else None
    status = Status.FAILED if failed else Status.NO_FACE
    return (
        ImageResult(
            uri=uri, version=version, status=status, error=error, detector="d", quality_model=quality_model
        ).encode()
        + b"\n"
    )


def earlier_in(path: Path, *, measures: bool = False) -> Earlier:
    with held(path, read=True) as file:
        return Earlier.read(file, path, detector="d", quality_model="q", measures=measures, progress=lambda _: None)


def numbers(items: Iterable[Item]) -> list[str]:
    return [item.uri[-1] for item in items]


def test_an_image_is_done_if_its_result_line_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    whole = line("s3://b/1") + line("s3://b/2", "old") + line("s3://b/3", failed=ErrorCode.NOT_FOUND)
    path.write_bytes(whole + line("s3://b/4")[:-1])
    items = [
        *(Item(uri=f"s3://b/{number}") for number in (1, 2, 3, 3, 4, 5)),
        Item(uri="s3://b/2", version="old"),
        Item(uri="s3://b/1", id="another"),
    ]

    earlier = earlier_in(path)

    assert (earlier.done.total(), earlier.failed, earlier.retryable) == (3, 1, {})
    # Another version, the second of two, the one whose line was cut off, a new one, and another id.
    assert numbers(earlier.remaining(items)) == ["2", "3", "4", "5", "1"]
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("measured", "advice"), [(True, "with measures: add"), (False, "without measures: omit")])
def test_a_file_is_not_continued_with_other_options_for_its_faces(
    tmp_path: Path, advice: str, *, measured: bool
) -> None:
    points = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 9.0))
    measures: dict[str, float | int | None] | None = {"face_px": 4.0} if measured else None
    face = Face(box=(1, 2, 3, 4), confidence=0.9, landmarks=points, quality=0.5, measures=measures)
    result = ImageResult(uri="s3://b/1", status=Status.SCORED, faces=(face,), detector="d", quality_model="q")
    path = tmp_path / "results.jsonl"
    path.write_bytes(line("s3://b/0") + result.encode() + b"\n")
    assert earlier_in(path, measures=measured).done.total() == 2
    with pytest.raises(UsageError, match=f"holds faces {advice} --measures, or choose another file$"):
        earlier_in(path, measures=not measured)


def test_retryable_failures_are_left_and_removed_when_they_have_a_new_result(tmp_path: Path) -> None:
    path, link = tmp_path / "results.jsonl", tmp_path / "link.jsonl"
    kept = [line("s3://b/1"), line("s3://b/2", failed=ErrorCode.NOT_FOUND), line("s3://b/3")]
    again = [line("s3://b/4", failed=ErrorCode.FETCH_FAILED), line("s3://b/5", failed=ErrorCode.INTERNAL_ERROR)]
    of_another_source = line("s3://b/9", failed=ErrorCode.FETCH_TIMEOUT)
    before = again[0] + of_another_source + kept[0] + kept[1] + again[1] + kept[2]
    path.write_bytes(before)
    path.chmod(0o640)
    link.symlink_to(path)

    earlier = earlier_in(link)
    left = list(earlier.remaining(Item(uri=f"s3://b/{number}") for number in range(1, 7)))
    assert path.read_bytes() == before  # until they have new results
    new = b"".join(line(item.uri) for item in left)
    path.write_bytes(before + new)
    earlier.remove_retried(link)

    assert numbers(left) == ["4", "5", "6"]
    assert path.read_bytes() == of_another_source + b"".join(kept) + new
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert set(tmp_path.iterdir()) == {link, path}


def test_failures_that_a_killed_run_tried_again_are_removed_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line("s3://b/1", failed=ErrorCode.FETCH_FAILED) + line("s3://b/1"))
    earlier = earlier_in(path)
    assert not list(earlier.remaining([Item(uri="s3://b/1")]))
    earlier.remove_retried(path)
    assert path.read_bytes() == line("s3://b/1")


def test_a_file_that_cannot_be_replaced_stays_as_it_is_and_the_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    content = line("s3://b/1", failed=ErrorCode.FETCH_FAILED) + line("s3://b/1")
    path.write_bytes(content)
    earlier = earlier_in(path)
    list(earlier.remaining([Item(uri="s3://b/1")]))

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OutputError, match=r"still holds 1 failure that has a newer result, .*: No space left"):
        earlier.remove_retried(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == content


def test_without_a_file_all_is_left_and_no_empty_file_stays(tmp_path: Path) -> None:
    items = [Item(uri="s3://b/1")]
    assert list(earlier_in(tmp_path / "results.jsonl").remaining(items)) == items
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with held(tmp_path / "link"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "link"]


def test_an_empty_file_that_existed_before_stays(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").touch()
    with held(tmp_path / "results.jsonl"):
        pass
    assert (tmp_path / "results.jsonl").exists()


def test_nothing_is_added_to_scores_of_other_models(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    content = line("s3://b/1", quality_model="mine@01234567")
    path.write_bytes(content)
    message = r"holds scores of d and the file mine.onnx of SHA-256 01234567…, not comparable with those of d and q: "
    with pytest.raises(UsageError, match=message):
        earlier_in(path)
    assert path.read_bytes() == content


def test_one_run_at_a_time_holds_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with held(path):
        with pytest.raises(OutputError, match=r"^another `fiqa run` writes [^\n]+: wait for its end, or choose"):
            earlier_in(path)
        path.write_bytes(line("s3://b/1"))
    assert earlier_in(path).done.total() == 1


def test_if_another_run_replaces_the_file_the_new_file_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, another = tmp_path / "results.jsonl", tmp_path / "another"
    path.touch()
    another.write_bytes(b"newer")
    flock = fcntl.flock

    def late(file: IO[bytes], how: int) -> None:
        if another.exists():
            another.replace(path)  # as another run does at its end, between our open and our lock
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", late)
    with held(path, read=True) as file:
        file.seek(0)
        assert file.read() == b"newer"


def test_a_file_system_without_locks_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_: IO[bytes], __: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    with held(tmp_path / "results.jsonl") as file:
        file.write(b"x")
    assert (tmp_path / "results.jsonl").read_bytes() == b"x"


@pytest.mark.parametrize("content", [b"uri,status\n", b'{"uri": "s3://b/1"}\n', b"\n", b"\xff\xd8\xff\n", b'{"theme":'])
def test_a_file_that_does_not_hold_results_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line("s3://b/1") + content)
    with pytest.raises(OutputError, match=r"holds something other than results: choose another file$"):
        earlier_in(path)
    assert path.read_bytes() == line("s3://b/1") + content


def test_the_error_for_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    message = r"^cannot write [^\n]+: Is a directory: choose another file$"
    with pytest.raises(OutputError, match=message), held(tmp_path):
        pass
