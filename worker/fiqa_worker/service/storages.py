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
        self._settings = settings
        self._allowed: tuple[str, ...] | None = None

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
        normal = _normal(url)
        if ".." in normal.split("/"):
            return False
        if self._allowed is None:
            # Not in __init__: this resolves links. If a share does not answer, the worker would never start.
            allowed = self._settings.allowed_storages
            if allowed is None:
                allowed = (self._settings.storage, REDIS_STORAGE)
            self._allowed = tuple(_normal(url) for url in allowed)
        return any(normal == allowed or normal.startswith(f"{allowed.rstrip('/')}/") for allowed in self._allowed)


def _normal(url: str) -> str:
    """Return one spelling for all URLs of a storage."""
    scheme, separator, rest = url.partition("://")
    if url == REDIS_STORAGE or (separator and scheme != "file"):
        return url.rstrip("/") if rest.strip("/") else url
    return str(Path(unquote(rest) if separator else url).expanduser().resolve())
