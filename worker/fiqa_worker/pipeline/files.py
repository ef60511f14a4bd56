"""Reads files from the disk: regular files below the allowed folders, and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from fiqa_worker.errors import AccessDenied, FetchFailed, ImageFailure, NotFound, SourceNotAllowed
from fiqa_worker.pipeline.beneath import OutsideError, open_beneath
from fiqa_worker.pipeline.file_bytes import LARGE_BYTES, FileBytes, check_size, large_buffer


def read_file(path: str, roots: Sequence[str], *, max_bytes: int) -> FileBytes:
    """Read a regular file that is below one of the roots after all symbolic links are resolved.

    Raises:
        SourceNotAllowed, NotFound, AccessDenied, TooLarge, FetchFailed: see Fetcher.fetch.
    """
    if ".." in path.split("/"):
        raise SourceNotAllowed("a file:// URI must not contain '..'")
    if "\0" in path:
        raise NotFound("no such file: its name contains a null character")
    try:
        with open(path, "rb", opener=lambda path, _: _open(path, roots)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise NotFound("no such file: a pipe or a device has this name")
            check_size(status.st_size, max_bytes)
            if status.st_size >= LARGE_BYTES:
                buffer = large_buffer(status.st_size)
                _check_unchanged(file.readinto(buffer), status.st_size, file)
                return buffer
            data = file.read(status.st_size or max_bytes + 1)  # some file systems report a size of 0
            if status.st_size:
                _check_unchanged(len(data), status.st_size, file)
    except OSError as error:
        raise _failure(error) from None
    check_size(len(data), max_bytes)
    return data


def is_below(name: str, prefix: str) -> bool:
    """Return whether a path or URI is this prefix, or is below it."""
    return name == prefix or name.startswith(prefix if prefix.endswith("/") else prefix + "/")


def not_allowed() -> SourceNotAllowed:
    return SourceNotAllowed("not below any prefix in the worker's FIQA_ALLOWED_SOURCES")


def _open(path: str, roots: Sequence[str]) -> int:
    for root in roots:
        if is_below(path, root):
            with suppress(OutsideError):  # another root may allow it
                return open_beneath(root, path)
    raise not_allowed()


def _check_unchanged(read: int, size: int, file: IO[bytes]) -> None:
    if read < size or file.read(1):
        raise FetchFailed("the file changed while it was read")


def _failure(error: OSError) -> ImageFailure:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.ENAMETOOLONG | errno.ENXIO:
            return NotFound("no such file")
        case errno.EISDIR:
            return NotFound("no such file: a folder has this name")
        case errno.EACCES | errno.EPERM:
            return AccessDenied("the worker's user may not read this file")
        case _:
            return FetchFailed(f"the file cannot be read: {error.strerror}")
