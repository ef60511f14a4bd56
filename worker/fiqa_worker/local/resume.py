"""The file that `fiqa run` writes its results to: held by one run alone, and taken up again by `--resume`."""

from __future__ import annotations

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from fiqa.contract import RETRYABLE, ImageResult, Item
from fiqa.errors import ContractError, SettingsError

# How every result begins, as ImageResult writes it.
_BEGINS: Final = b'{"v":1,"uri":"'
_TOLD_EVERY: Final = 10_000
_LOCK_TRIES: Final = 5


@contextmanager
def held(path: Path, *, read: bool = False) -> Iterator[IO[bytes]]:
    """A file open to be added to, by this process alone; one that is new and stays empty is gone at the end.

    Args:
        path: of a file, or of none yet.
        read: open it to be read, too.

    Raises:
        SettingsError: it cannot be opened, or another process holds it.
    """
    try:
        target = path.resolve()
        is_new = not target.exists()
        file = _locked(target, "a+b" if read else "ab")
    except BlockingIOError:
        raise SettingsError(f"another `fiqa run` writes {path}: wait for its end, or choose another file") from None
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}: choose another file") from error
    try:
        yield file
    finally:
        with suppress(OSError):  # who wrote what cannot be stored was told so
            file.close()
        if is_new and target.is_file() and target.stat().st_size == 0:
            target.unlink()


def _locked(path: Path, mode: str) -> IO[bytes]:
    tries = _LOCK_TRIES
    while True:
        tries -= 1
        file: IO[bytes] = path.open(mode)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Not every network file system knows of locks: it is written without.
            if error.errno not in {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}:
                file.close()
                raise
        # Who held it before may have put another in its place, or taken it away. Not every file system tells.
        if not tries or (path.exists() and path.samefile(f"/dev/fd/{file.fileno()}")):
            return file
        file.close()


@dataclass(slots=True)
class Earlier:
    """What `fiqa run` has left in a file of results, and what of it is to be done again.

    Attributes:
        done: how often each image has a result that stays.
        failed: how many of those are failures.
        passing: the failures that may well not happen again, by line, and whose each is.
    """

    done: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    passing: dict[int, int] = field(default_factory=dict)
    _tried: set[int] = field(default_factory=set)

    @classmethod
    def read(
        cls, file: IO[bytes], path: Path, *, detector: str, quality_model: str, progress: Callable[[int], None]
    ) -> Earlier:
        """Read a JSONL file from its beginning; a last line that was cut off is taken out of it.

        Args:
            file: open to be read and written.
            path: its name.
            detector: the name of the one that is to find faces in what is left.
            quality_model: the name of the one that is to score them.
            progress: is told now and then how many results were read.

        Raises:
            SettingsError: it cannot be read, or holds anything else than results, or scores of other models.
        """
        earlier, end = cls(), 0
        try:
            file.seek(0)
            for number, line in enumerate(file):
                if not line.endswith(b"\n") and line[: len(_BEGINS)] == _BEGINS[: len(line)]:
                    break
                result = ImageResult.decode(line)
                if (result.detector, result.quality_model) != (detector, quality_model):
                    raise SettingsError(
                        f"{path} holds scores of {_named(result.detector)} and {_named(result.quality_model)}, not"
                        f" comparable with those of {_named(detector)} and {_named(quality_model)}: choose another"
                        " file, or set FIQA_DETECTOR and FIQA_QUALITY_MODEL to the former"
                    )
                end += len(line)
                earlier._take(number, result)
                if number % _TOLD_EVERY == 0:
                    progress(number)
            file.truncate(end)
        except ContractError:
            raise SettingsError(f"{path} holds something else than results: choose another file") from None
        except OSError as error:
            raise SettingsError(f"cannot go on with {path}: {error.strerror}") from error
        return earlier

    def _take(self, number: int, result: ImageResult) -> None:
        if result.error and result.error.code in RETRYABLE:
            self.passing[number] = _key(result)
        else:
            self.done[_key(result)] += 1
            self.failed += result.error is not None

    def left_of(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items that have no result that stays; of one that is listed twice as many as are missing."""
        left, passing = self.done.copy(), set(self.passing.values())
        for item in items:
            key = _key(item)
            if key in passing:
                self._tried.add(key)
            if left[key]:
                left[key] -= 1
            else:
                yield item

    def take_out_tried(self, path: Path) -> None:
        """Once all that was left has a result, take the failures that were tried again out of the file.

        Raises:
            SettingsError: there is no room for the new file that takes its place, or no leave to make it.
        """
        gone = {number for number, key in self.passing.items() if key in self._tried}
        if not gone:
            return
        path = path.resolve()
        part = path.with_name(f".{path.name}.part")
        try:
            with path.open("rb") as source, part.open("wb") as target:
                found = os.fstat(source.fileno())
                os.fchmod(target.fileno(), found.st_mode)
                with suppress(PermissionError):
                    os.fchown(target.fileno(), found.st_uid, found.st_gid)
                target.writelines(line for number, line in enumerate(source) if number not in gone)
                target.flush()
                os.fsync(target.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise SettingsError(
                f"{path} still holds {len(gone):,} failures that have a later result now, since it cannot be written"
                f" anew: {error.strerror}"
            ) from error


def _named(model: str) -> str:
    """A model as people know it: one that is no official one has a part of its SHA-256 in its name."""
    name, separator, digest = model.partition("@")
    return f"the file {name}.onnx of SHA-256 {digest}…" if separator else name


def _key(of: Item | ImageResult) -> int:
    # Not the URI itself: there may be millions.
    return hash((of.uri, of.id, of.version))
