"""The file that `fiqa run` writes its results to: held by one run alone, and taken up again by `--resume`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fiqa_producer.contract import RETRYABLE, ImageResult, Item
from fiqa_producer.errors import ContractError, SettingsError

# How every result begins, as ImageResult writes it.
_BEGINS: Final = b'{"v":1,"uri":"'
_TOLD_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Models:
    """What scores now, as results name it."""

    detector: str
    quality_model: str


@contextmanager
def held(path: Path) -> Iterator[IO[bytes]]:
    """A file open to be read and added to, by this process alone; one that is new and stays empty is gone at the end.

    Raises:
        SettingsError: it cannot be written, or another process holds it.
    """
    is_new = not path.exists()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("a+b"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"another `fiqa run` writes {path}: wait for its end, or choose another file") from None
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}: choose another file") from error
        try:
            yield file
        finally:
            if is_new and path.is_file() and path.stat().st_size == 0:
                path.unlink()


@contextmanager
def taken_up(path: Path, models: Models, *, progress: Callable[[int], None]) -> Iterator[Counter[int]]:
    """How often each image has a result in a JSONL file, which is held meanwhile; to be given to `left_of`.

    A last line that was cut off is taken out of the file, and so are failures that may well not happen again.

    Args:
        path: it may be missing.
        models: those that will score what is left.
        progress: is told now and then how many results were read.

    Raises:
        SettingsError: the file cannot be read and written, is held by another process, holds anything else, or scores
            of other models.
    """
    if path.exists() and not path.is_file():
        raise SettingsError(f"{path} is no file: --resume goes on with one")
    with ExitStack() as stack:
        file = stack.enter_context(held(path))
        try:
            done, again, end = _read(file, path, models, progress)
            file.truncate(end)
            if again:
                # A new file in its place: should this process be killed meanwhile, the old one is whole.
                part = path.resolve().with_name(f".{path.name}.part")
                part.unlink(missing_ok=True)
                _copy_without(file, stack.enter_context(held(part)), again)
                shutil.copymode(path, part)
                part.replace(path.resolve())
        except OSError as error:
            raise SettingsError(f"cannot go on with {path}: {error.strerror}") from error
        yield done


def _read(
    file: IO[bytes], path: Path, models: Models, progress: Callable[[int], None]
) -> tuple[Counter[int], set[int], int]:
    """What is done, the numbers of the lines to try again, and where the last whole line ends."""
    done: Counter[int] = Counter()
    again: set[int] = set()
    end = 0
    file.seek(0)
    for number, line in enumerate(file):
        if not line.endswith(b"\n") and line[: len(_BEGINS)] == _BEGINS[: len(line)]:
            break
        try:
            result = ImageResult.decode(line)
        except ContractError:
            raise SettingsError(f"{path} holds something else than results: choose another file") from None
        before = Models(result.detector, result.quality_model)
        if before != models:
            raise SettingsError(
                f"{path} holds scores of {before.detector} and {before.quality_model}, not comparable with those of"
                f" {models.detector} and {models.quality_model}: choose another file, or name the former in"
                " FIQA_DETECTOR and FIQA_QUALITY_MODEL"
            )
        end += len(line)
        if result.error and result.error.code in RETRYABLE:
            again.add(number)
        else:
            done[_key(result)] += 1
        if number % _TOLD_EVERY == 0:
            progress(number)
    return done, again, end


def _copy_without(source: IO[bytes], target: IO[bytes], numbers: set[int]) -> None:
    source.seek(0)
    target.writelines(line for number, line in enumerate(source) if number not in numbers)
    target.flush()
    os.fsync(target.fileno())


def left_of(items: Iterable[Item], done: Counter[int]) -> Iterator[Item]:
    """The items that have no result yet; of one that is listed twice as many as are missing."""
    for item in items:
        key = _key(item)
        if done[key]:
            done[key] -= 1
        else:
            yield item


def _key(of: Item | ImageResult) -> int:
    # Not the URI itself: there may be millions.
    return hash((of.uri, of.id, of.version))
