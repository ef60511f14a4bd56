"""The files that commands write: whole or not at all, in the format of the suffix, over no file without --force."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import click

from fiqa.errors import OutputError

force_option = click.option("--force", is_flag=True, help="Replace the output if it exists.")

# Some file systems have no hard links.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a file name that has none of these suffixes, since the suffix decides the format.

    Raises:
        OutputError: it ends in none of these.
    """
    name = path.name.lower()
    if not is_stream(path) and not any(name.endswith(suffix) and name != suffix for suffix in suffixes):
        *others, last = suffixes
        listed = f"{', '.join(others)} or {last}" if others else last
        raise OutputError(f"cannot write {path}: its name must end in {listed}")


def check_free(path: Path, *, force: bool, inputs: Iterable[Path] = (), or_else: str = "") -> None:
    """Refuse an output before any work is done for it.

    Args:
        path: the file to write.
        force: whether it may exist. An empty file may exist in any case, since nothing would be lost.
        inputs: files that the command reads. It must not overwrite one of them, even with `force`.
        or_else: another remedy for the message, such as "continue it with --resume, ".

    Raises:
        OutputError: it exists, it is an input, or it cannot be written.
    """
    try:
        if is_stream(path):
            return
        if any(_is_same(path, other) for other in inputs):
            raise OutputError(f"cannot write {path}: it is the input: choose another file")
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder: choose another file")
        if not force and path.exists() and path.stat().st_size:
            raise _exists(path, or_else)
        folder = _target(path).parent
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file to write. If the block succeeds, the file appears under its name; otherwise nothing is left of it.

    A pipe or a device is written directly.

    Args:
        path: the file. If it is a link, the file that it leads to is written, and the link stays.
        force: replace what exists. The new file takes its permissions.

    Raises:
        OutputError: it cannot be written, or a file of that name was made while the block ran. What the block itself
            raises is passed on; turn it into the same error with `cannot_write`.
    """
    try:
        temporary, file = (None, path.open("ab")) if is_stream(path) else _open_beside(path)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error
    try:
        yield file
        try:
            file.flush()
            if temporary:
                _publish(file, temporary, path, force=force)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # a failed write was reported before
            file.close()
        if temporary:
            with suppress(OSError):
                temporary.unlink()


def write_whole(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file whose content is already complete, with `new_file`.

    Raises:
        OutputError: see `new_file`.
    """
    with new_file(path, force=force) as file:
        try:
            file.write(data)
        except OSError as error:
            raise cannot_write(path, error) from error


def cannot_write(path: Path | None, error: OSError | ValueError) -> OutputError:
    """Return the error for an output that cannot be written; None for standard output."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(
        f"cannot write {path}: {reason}: choose another file" if path else f"cannot write standard output: {reason}"
    )


def is_stream(path: Path) -> bool:
    """Return whether a path names a pipe, a device or an open descriptor: there is nothing to replace."""
    if str(path.absolute()).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_beside(path: Path) -> tuple[Path, IO[bytes]]:
    # mkstemp would create it with 0600, even if the umask allows others to read.
    temporary = _target(path).with_name(f".fiqa-{secrets.token_hex(8)}.part")
    return temporary, temporary.open("xb")


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False


def _publish(file: IO[bytes], temporary: Path, path: Path, *, force: bool) -> None:
    target = _target(path)
    with suppress(FileNotFoundError):
        before = target.stat()
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
        with suppress(PermissionError):
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
    os.fsync(file.fileno())
    if not force:
        try:
            os.link(temporary, target)
        except OSError as error:
            if not isinstance(error, FileExistsError) and error.errno not in _NO_LINKS:
                raise
            if target.exists() and target.stat().st_size:
                raise _exists(path) from None
        else:
            return
    temporary.replace(target)


def _exists(path: Path, or_else: str = "") -> OutputError:
    return OutputError(f"{path} exists already: {or_else}replace it with --force, or choose another file")
