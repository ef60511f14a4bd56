"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


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
        OSError: the file cannot be written. Nothing of it is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
        if once:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        else:
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    return True
