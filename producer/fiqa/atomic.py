"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from fiqa.errors import MissingDependencyError

try:
    import fcntl
except ImportError as error:
    raise MissingDependencyError("Windows itself cannot run this: install fiqa in WSL 2, which is a Linux") from error

_NO_HARD_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
# Errors of fsync: some network file systems cannot do it for a folder.
_NO_FSYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}


def write_atomically(
    path: Path, parts: Iterable[bytes], *, once: bool = False, durable: bool = True, like: os.stat_result | None = None
) -> bool:
    """Write a file so that every reader sees all of it or nothing. Its folder is created if it does not exist.

    Args:
        path: the file.
        parts: its content, piece by piece.
        once: do not replace a file that exists.
        durable: return only when the content would survive a loss of power.
        like: take the permissions and, if allowed, the owner from this; None: 0644 and the current user.

    Returns:
        Whether the file was written: False if it existed and `once` is set.

    Raises:
        OSError: the file cannot be written. No part of it is left.
    """
    new_folders = _make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            # mkstemp's 0600 would lock out a worker that runs as another user.
            os.fchmod(descriptor, like.st_mode & 0o7777 if like else 0o644)
            if like:
                with suppress(PermissionError):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            if durable:
                file.flush()
                os.fsync(descriptor)
        written = True
        if once:
            written = _name_once(temporary, path)
        else:
            temporary.replace(path)
        if durable:
            # A file of another process may not be on disk yet: that process may have died before its fsync.
            if not written:
                _sync(path)
            for folder in (path.parent, *(made.parent for made in new_folders)):
                _sync(folder)
    finally:
        with suppress(OSError):
            temporary.unlink()
    return written


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder with its parents, and return those that were missing."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(parents=True, exist_ok=True)
    return missing


def _name_once(temporary: Path, path: Path) -> bool:
    """Give a file its name, unless another file has it. Returns whether it has it now."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _rename_once(temporary, path)
    return True


def _rename_once(temporary: Path, path: Path) -> bool:
    """Do the same on a file system without hard links, such as exFAT. A lock keeps others out."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # if it has no locks either, two machines may both write. The second file stays.
            fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return False
        temporary.rename(path)
        return True
    finally:
        os.close(folder)


def _sync(path: Path) -> None:
    """Write a file or a folder to the disk, so that it survives a loss of power, if its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(descriptor)
