"""The results file of `fiqa run`. One run at a time holds it, and `--resume` continues it."""

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

from fiqa.atomic import write_atomically
from fiqa.contract import RETRYABLE, ImageResult, Item
from fiqa.errors import ContractError, OutputError, UsageError
from fiqa.text import count

# How every result begins, as ImageResult writes it.
_BEGINS: Final = b'{"v":1,"uri":"'
_PROGRESS_EVERY: Final = 10_000
_LOCK_TRIES: Final = 5


@contextmanager
def held(path: Path, *, read: bool = False) -> Iterator[IO[bytes]]:
    """Open a file for appending, and lock it for this process. A new file that stays empty is removed at the end.

    Args:
        path: the file. It may be missing.
        read: open it for reading too.

    Raises:
        OutputError: it cannot be opened, or another process holds it.
    """
    try:
        target = path.resolve()
        is_new = not target.exists()
        file = _locked(target, "a+b" if read else "ab")
    except BlockingIOError:
        raise OutputError(f"another `fiqa run` writes {path}: wait for its end, or choose another file") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}: choose another file") from error
    try:
        yield file
    finally:
        with suppress(OSError):  # a failed write was reported before
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
            # Some network file systems have no locks. Then the file is written without a lock.
            if error.errno not in {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}:
                file.close()
                raise
        # The process that held the lock before may have replaced or removed the file. Some file systems never report it
        # as the same file, so the last try accepts it.
        if not tries or (path.exists() and path.samefile(f"/dev/fd/{file.fileno()}")):
            return file
        file.close()


@dataclass(slots=True)
class Earlier:
    """The results that earlier runs left in a file.

    Attributes:
        done: the number of final results of each image, by the image's key.
        failed: the number of final results that are failures.
        retryable: the failures that may succeed the next time. Maps the line number to the image's key.
    """

    done: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    retryable: dict[int, int] = field(default_factory=dict)
    _retried: set[int] = field(default_factory=set)

    @classmethod
    def read(
        cls,
        file: IO[bytes],
        path: Path,
        *,
        detector: str,
        quality_model: str,
        measures: bool,
        progress: Callable[[int], None],
    ) -> Earlier:
        """Read a JSONL file from its beginning. If the last line is cut off, it is removed from the file.

        Args:
            file: the file, open for reading and writing.
            path: its name, for messages.
            detector: the name of the detector of this run.
            quality_model: the name of the quality model of this run.
            measures: whether this run measures the faces.
            progress: called from time to time with the number of results read so far.

        Raises:
            OutputError: the file cannot be read, or holds something other than results.
            UsageError: it holds scores of other models. Or one of the two, the file or this run, has measures and the
                other has not.
        """
        earlier, end = cls(), 0
        try:
            file.seek(0)
            for number, line in enumerate(file):
                if not line.endswith(b"\n") and line[: len(_BEGINS)] == _BEGINS[: len(line)]:
                    break
                result = ImageResult.decode(line)
                if (result.detector, result.quality_model) != (detector, quality_model):
                    raise UsageError(
                        f"{path} holds scores of {_named(result.detector)} and {_named(result.quality_model)}, not"
                        f" comparable with those of {_named(detector)} and {_named(quality_model)}: choose another"
                        " file, or set FIQA_DETECTOR and FIQA_QUALITY_MODEL to the models of this file"
                    )
                if result.faces and (result.faces[0].measures is not None) != measures:
                    there, option = ("without", "omit") if measures else ("with", "add")
                    raise UsageError(
                        f"{path} holds faces {there} measures: {option} --measures, or choose another file"
                    )
                end += len(line)
                earlier._add(number, result)
                if number % _PROGRESS_EVERY == 0:
                    progress(number)
            file.truncate(end)
        except ContractError:
            raise OutputError(f"{path} holds something other than results: choose another file") from None
        except OSError as error:
            raise OutputError(f"cannot continue {path}: {error.strerror}") from error
        return earlier

    def _add(self, number: int, result: ImageResult) -> None:
        if result.error and result.error.code in RETRYABLE:
            self.retryable[number] = _key(result)
        else:
            self.done[_key(result)] += 1
            self.failed += result.error is not None

    def remaining(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items without a final result. An item that is listed twice needs two results."""
        left, retryable = self.done.copy(), set(self.retryable.values())
        for item in items:
            key = _key(item)
            if key in retryable:
                self._retried.add(key)
            if left[key]:
                left[key] -= 1
            else:
                yield item

    def remove_retried(self, path: Path) -> None:
        """Remove from the file the failures that were tried again. Call this when each of them has a new result.

        Raises:
            OutputError: the new file cannot be written. The old one stays as it is.
        """
        gone = {number for number, key in self.retryable.items() if key in self._retried}
        if not gone:
            return
        path = path.resolve()
        try:
            with path.open("rb") as source:
                kept = (line for number, line in enumerate(source) if number not in gone)
                write_atomically(path, kept, like=os.fstat(source.fileno()))
        except OSError as error:
            left = count(len(gone), "failure that has", "failures that have")
            raise OutputError(
                f"{path} still holds {left} a newer result, since the file cannot be replaced: {error.strerror}"
            ) from error


def _named(model: str) -> str:
    """Return a readable name of a model. The name of a model that was given by path has a part of its SHA-256."""
    name, separator, digest = model.partition("@")
    return f"the file {name}.onnx of SHA-256 {digest}…" if separator else name


def _key(of: Item | ImageResult) -> int:
    # The hash, and not the URI, to save memory: there may be millions.
    return hash((of.uri, of.id, of.version))
