"""The storages that this worker opens: only those that its settings allow, and a few at a time.

The URL of a job's storage is in Redis. Without this check, anyone who can write to Redis could make workers write and
delete anywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from fiqa.contract import REDIS_STORAGE
from fiqa.ledger.connection import Connection
from fiqa.storage.storage import Storage, open_storage
from fiqa_worker.errors import SourceUnavailable
from fiqa_worker.pipeline.files import is_below
from fiqa_worker.settings import WorkerSettings

# An open storage in S3 takes about 1 MB of memory. Most fleets use one storage.
_OPEN: Final = 16
_NOT_ALLOWED: Final = (
    "this worker may not open that storage: if it may, set FIQA_STORAGE to it or add it to FIQA_ALLOWED_STORAGES"
)


class Storages:
    """Opens storages, and keeps the last few open. Use it in one thread only."""

    def __init__(self, settings: WorkerSettings, connection: Connection) -> None:
        self._connection = connection
        self._open: OrderedDict[str, Storage] = OrderedDict()
        allowed = settings.allowed_storages
        self._allowed = (settings.storage, REDIS_STORAGE) if allowed is None else allowed
        self._resolved: dict[str, str] = {}

    def open(self, url: str) -> Storage:
        """Return the storage that a URL names.

        Raises:
            SourceUnavailable: the settings do not allow it.
            SettingsError: the URL does not name a storage.
        """
        if not self._allows(url):
            raise SourceUnavailable(url, _NOT_ALLOWED)
        if url not in self._open:
            self._open[url] = open_storage(url, self._connection)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(url)
        return self._open[url]

    def _allows(self, url: str) -> bool:
        if not _is_folder(url):
            name = _without_slash(url)
            urls = (_without_slash(allowed) for allowed in self._allowed if not _is_folder(allowed))
            return ".." not in name.split("/") and any(is_below(name, allowed) for allowed in urls)
        # To resolve links, the file systems must answer. So only what this URL needs is resolved, and nothing while the
        # worker starts: a share that is gone must not hold up other storages.
        path = _real(url)
        folders = [allowed for allowed in self._allowed if _is_folder(allowed)]
        folders.sort(key=lambda folder: not is_below(_path(url), _path(folder)))
        return any(is_below(path, self._real_allowed(folder)) for folder in folders)

    def _real_allowed(self, folder: str) -> str:
        if folder not in self._resolved:
            self._resolved[folder] = _real(folder)
        return self._resolved[folder]


def _is_folder(url: str) -> bool:
    return url != REDIS_STORAGE and ("://" not in url or url.startswith("file://"))


def _without_slash(url: str) -> str:
    return url.rstrip("/") if url.partition("://")[2].strip("/") else url


def _path(folder: str) -> str:
    path = unquote(folder.removeprefix("file://")) if folder.startswith("file://") else folder
    return str(Path(path).expanduser())


def _real(folder: str) -> str:
    return str(Path(_path(folder)).resolve())
