"""Captures what libjpeg, libpng and libtiff print to standard error, so that it does not mix with log lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

_STDERR: Final = 2
_MOST_BYTES: Final = 4096

# These libraries print to descriptor 2, and OpenCV and Pillow cannot switch that off. The lines go to this file in
# memory. On systems without such files, the lines are dropped.
_captured: Final = os.memfd_create("fiqa") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
_lock: Final = Lock()
# If standard error is closed, descriptor 2 is another file or a connection.
_HAS_STDERR: Final = sys.__stderr__ is not None


class _State:
    users = 0
    has_overlapped = False
    stderr = -1


@contextmanager
def captured_output() -> Iterator[list[str]]:
    """Redirect descriptor 2 while a C library works.

    It takes 2.4 us. Log handlers must write to another descriptor.

    Yields:
        A list that holds the printed lines after the block. It stays empty if several threads were in such a block at
        once: then it is not known which thread printed a line.
    """
    lines: list[str] = []
    if not _HAS_STDERR:
        yield lines
        return
    _begin()
    try:
        yield lines
    finally:
        lines += _end()


def _begin() -> None:
    with _lock:
        _State.users += 1
        _State.has_overlapped = _State.users > 1
        if _State.users == 1:
            _State.stderr = os.dup(_STDERR)
            os.dup2(_captured, _STDERR)


def _end() -> list[str]:
    with _lock:
        _State.users -= 1
        if _State.users:
            return []
        os.dup2(_State.stderr, _STDERR)
        os.close(_State.stderr)
        if not os.lseek(_captured, 0, os.SEEK_END):
            return []
        printed = os.pread(_captured, _MOST_BYTES, 0)
        os.ftruncate(_captured, 0)
        os.lseek(_captured, 0, os.SEEK_SET)
        return [] if _State.has_overlapped else printed.decode(errors="replace").splitlines()
