"""The storage of a job: one interface, and three implementations.

Each chunk of a job has two gzipped JSONL files: one of items (its part of the manifest) and one of results. Such a file
is a shard. Outside of Redis a job also has two documents: job.json, from which the ledger can be rebuilt, and
summary.json at the end.

A shard is written once. A second writer leaves it as it is. So a late worker changes nothing, and two submits never mix
their images.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

from fiqa.contract import REDIS_STORAGE
from fiqa.errors import SettingsError
from fiqa.ledger.connection import Connection
from fiqa.s3 import s3_client
from fiqa.s3_uri import advice_for
from fiqa.storage.directory import DirectoryStorage
from fiqa.storage.layout import Document, Part
from fiqa.storage.redis import RedisStorage
from fiqa.storage.s3 import S3Storage
from fiqa.text import without_secrets

if TYPE_CHECKING:
    from botocore.client import BaseClient

_PATH: Final = re.compile(r"/|\.{1,2}(/|$)|~")


class Storage(Protocol):
    """Shards and documents of jobs.

    Every method raises StorageError if the storage does not answer or refuses. If the storage is Redis, it raises
    RedisUnavailableError.

    Attributes:
        url: the URL with which `open_storage` opens the same storage.
    """

    url: str

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        """Store a shard, unless it exists. Return False if it existed."""

    def replace(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        """Store a shard in place of one that is damaged."""

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        """Return a shard as it was stored. Raises LostShardError if it is gone."""

    def chunks(self, job_id: str, part: Part) -> list[int]:
        """Return the numbers of the chunks that have a shard, in order."""

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        """Store a document, and replace the one that was there."""

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        """Return a document; None if there is none."""

    def delete(self, job_id: str) -> None:
        """Delete all shards and documents of a job."""

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that can be recovered from here, oldest first."""


def open_storage(url: str, connection: Connection, *, new_client: Callable[[], BaseClient] = s3_client) -> Storage:
    """Open the storage that a URL names.

    Args:
        url: `redis`, s3://bucket/prefix, or a folder: file:///path, or a path that begins with /, ./, ../ or ~. A bare
            word is refused, since a typo such as `rediss` or `s3:/bucket` would become a folder of that name.
        connection: to Redis; used only if the storage is Redis.
        new_client: makes a client of S3; used only if the storage is in S3.

    Raises:
        SettingsError: the URL does not name a storage.
    """
    if url == REDIS_STORAGE:
        return RedisStorage(connection)
    if url.startswith("s3://"):
        return S3Storage(url, new_client=new_client)
    path = unquote(url.removeprefix("file://")) if url.startswith("file:///") else url
    if _PATH.match(path):
        with suppress(OSError, RuntimeError, ValueError):  # no such user, a circle of links, a NUL byte
            return DirectoryStorage(Path(path).expanduser().resolve())
    shown = without_secrets(url)
    if advice := advice_for(shown):
        raise SettingsError(f"FIQA_STORAGE: {shown!r} is not a storage: {advice}")
    raise SettingsError(
        f"FIQA_STORAGE: {shown!r} is neither `redis` nor s3://bucket/prefix nor a folder, /path or ./path"
    )
