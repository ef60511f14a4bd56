"""The roots of sources. A root is a bucket or an allowed folder: a worker can read it as a whole, or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote_to_bytes

from fiqa_worker.errors import SourceUnavailable
from fiqa_worker.pipeline.expendable import ExpendableThreads, StuckError
from fiqa_worker.pipeline.files import is_below

_log = logging.getLogger(__name__)

# A process starts without a folder that does not answer for so long.
_START_LIMIT_S: Final = 5.0


def path_of(uri: str) -> str:
    """Return the path of a file:// URI. It is percent-decoded, as RFC 8089 says."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))


def allows(allowed: Sequence[str], uri: str) -> bool:
    """Return whether a worker with these allowed sources may read a URI. Only the name is checked, not links."""
    if uri.startswith("file://"):
        path = path_of(uri)
        return any(is_below(path, path_of(prefix)) for prefix in allowed if prefix.startswith("file://"))
    return any(is_below(uri, prefix) for prefix in allowed if prefix.startswith("s3://"))


def _mounts_of(folders: Iterable[str]) -> set[str]:
    """Return the folders that are mounts. A folder that does not answer is one: only a share of a network hangs."""
    calls = {folder: partial(os.path.ismount, folder) for folder in folders}
    threads = ExpendableThreads(max(1, len(calls)), name="mounts")
    started = {folder: threads.start(call) for folder, call in calls.items()}
    mounts = set()
    for folder, call in started.items():
        try:
            if threads.wait(call, limit_s=_START_LIMIT_S):
                mounts.add(folder)
        except StuckError:
            _log.error("%s does not answer: images below it will end as fetch_timeout", folder)
            mounts.add(folder)
    threads.close()
    return mounts


class Roots:
    """The roots of a worker's allowed sources. It remembers which folders were mounted."""

    def __init__(self, allowed: Sequence[str]) -> None:
        folders = {path_of(prefix): prefix for prefix in allowed if prefix.startswith("file://")}
        # The longest path first: a path belongs to the innermost folder that is listed.
        self._folders = dict(sorted(folders.items(), key=lambda each: -len(each[0])))
        self._mounts = _mounts_of(folders)

    def root_of(self, uri: str) -> str:
        """Return the root of a URI: s3://bucket, or the allowed prefix above a file:// URI, or else the scheme."""
        scheme, _, rest = uri.partition("://")
        if scheme == "s3":
            return f"s3://{rest.partition('/')[0]}"
        folder = self._folder_of(path_of(uri)) if scheme == "file" else None
        return f"{scheme}://" if folder is None else self._folders[folder]

    def check(self, path: str) -> None:
        """Check that the allowed folder above a path exists. Call this if the path cannot be read.

        Raises:
            SourceUnavailable: the folder does not exist, is empty, or is not mounted any more.
        """
        folder = self._folder_of(path)
        if folder is None or folder.rstrip("/") == path.rstrip("/"):
            return
        problem = self._problem(folder)
        if problem:
            raise SourceUnavailable(self._folders[folder], problem)

    def _problem(self, folder: str) -> str | None:
        try:
            with os.scandir(folder) as entries:
                if next(entries, None) is None:
                    return "is empty on this machine: is the share mounted?"
        except FileNotFoundError:
            return "does not exist on this machine: is the share mounted?"
        except (NotADirectoryError, PermissionError):
            return None  # the prefix is a file, or a permission is missing: this is not about a share
        except OSError as error:  # for instance a stale handle of NFS
            return f"cannot be read on this machine: {error.strerror}: is the share mounted?"
        if os.path.ismount(folder):
            self._mounts.add(folder)
        elif folder in self._mounts:
            return "is not mounted any more on this machine"
        return None

    def _folder_of(self, path: str) -> str | None:
        return next((folder for folder in self._folders if is_below(path, folder)), None)
