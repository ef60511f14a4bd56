"""What of an unfinished file of results counts as done, and what is left."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fiqa_producer.contract import ErrorCode, ImageError, ImageResult, Item, Status
from fiqa_producer.errors import SettingsError
from fiqa_worker.resume import Models, held, left_of, taken_up

MODELS = Models("d", "q")


def line(uri: str, version: str | None = None, failed: ErrorCode | None = None, quality_model: str = "q") -> bytes:
    error = ImageError(code=failed, message="why") if failed else None
    status = Status.FAILED if failed else Status.NO_FACE
    return (
        ImageResult(
            uri=uri, version=version, status=status, error=error, detector="d", quality_model=quality_model
        ).encode()
        + b"\n"
    )


def done_in(path: Path, progress: Callable[[int], None] = lambda _: None) -> Counter[int]:
    with taken_up(path, MODELS, progress=progress) as done:
        return done


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


def test_failures_that_may_not_happen_again_are_taken_out_and_left_to_do(tmp_path: Path) -> None:
    path, link = tmp_path / "results.jsonl", tmp_path / "link.jsonl"
    kept = [line("s3://b/1"), line("s3://b/2", failed=ErrorCode.NOT_FOUND), line("s3://b/3")]
    again = [line("s3://b/4", failed=ErrorCode.FETCH_FAILED), line("s3://b/5", failed=ErrorCode.INTERNAL_ERROR)]
    path.write_bytes(again[0] + kept[0] + kept[1] + again[1] + kept[2] + line("s3://b/6")[:30])
    path.chmod(0o640)
    link.symlink_to(path)

    with taken_up(link, MODELS, progress=lambda _: None) as done:
        left = list(left_of([Item(uri=f"s3://b/{number}") for number in range(1, 7)], done))
        # The file that took its place is held too.
        with pytest.raises(SettingsError, match=r"^another `fiqa run` writes "), held(path):
            pass

    assert [item.uri[-1] for item in left] == ["4", "5", "6"]
    assert path.read_bytes() == b"".join(kept)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert set(tmp_path.iterdir()) == {link, path}


def test_where_there_is_no_file_all_is_left_and_none_stays_that_is_empty(tmp_path: Path) -> None:
    items = [Item(uri="s3://b/1")]
    assert list(left_of(items, done_in(tmp_path / "results.jsonl"))) == items
    assert not list(tmp_path.iterdir())


def test_scores_of_other_models_are_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    content = line("s3://b/1", quality_model="builtin_quality")
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"holds scores of d and builtin_quality, not comparable .* of d and q: "):
        done_in(path)
    assert path.read_bytes() == content


def test_a_file_is_held_by_one_run_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with held(path):
        with pytest.raises(SettingsError, match=r"^another `fiqa run` writes [^\n]+: wait for its end, or choose"):
            done_in(path)
        path.write_bytes(line("s3://b/1"))
    assert done_in(path).total() == 1


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
