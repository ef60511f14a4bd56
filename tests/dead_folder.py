"""A folder whose file system never answers, like that of an NFS server that is gone."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_DETACH: Final = 2


def has_fuse() -> bool:
    """Return whether `dead` works here."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


needs_fuse = pytest.mark.skipif(not has_fuse(), reason="mounts a file system, which takes root and /dev/fuse")


@contextmanager
def dead(folder: Path) -> Iterator[Path]:
    """Mount a FUSE file system over a folder, and answer none of its requests. At the end, all of them fail."""
    folder.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"dead", bytes(folder), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount", str(folder))
        try:
            yield folder
        finally:
            libc.umount2(bytes(folder), _DETACH)
    finally:
        os.close(server)
