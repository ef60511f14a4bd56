"""The storage of jobs: write a shard, write it again, read it back, delete it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final

from fiqa.contract import DEFAULT_NAMESPACE, REDIS_STORAGE
from fiqa.doctor.findings import Finding, State
from fiqa.doctor.machine import check_disk
from fiqa.errors import FiqaError
from fiqa.ledger.connection import Connection
from fiqa.ledger.job_id import new_job_id
from fiqa.s3 import s3_client
from fiqa.storage.layout import JOBS
from fiqa.storage.storage import open_storage

_FIRST: Final = b"first"
_SECOND: Final = b"second"
# One request after the other, each tried once: a store that is down must not take long.
quick_s3_client = partial(s3_client, connect_timeout_s=3, read_timeout_s=5, tries=1)


def check_storage(url: str, redis_url: str, namespace: str = DEFAULT_NAMESPACE) -> Iterator[Finding]:
    """Store a shard of a job that does not exist, and delete it.

    Raises:
        SettingsError: the URL does not name a storage.
        StorageError: the storage does not answer, or refuses.
    """
    if url == REDIS_STORAGE:
        yield Finding("storage", State.OK, "redis: manifests and results are in Redis, and need its memory")
        return
    with closing(Connection(redis_url, namespace)) as connection:
        storage = open_storage(url, connection, new_client=quick_s3_client)
    folder = None if storage.url.startswith("s3://") else Path(storage.url)
    if folder:
        yield from check_disk("storage", folder, warn_bytes=1_000_000_000, least_bytes=100_000_000)
    missing = [each for each in (folder / JOBS, folder) if not os.path.lexists(each)] if folder else []
    job_id = new_job_id()
    try:
        storage.write_once(job_id, "results", 0, _FIRST)
        is_replaced = storage.write_once(job_id, "results", 0, _SECOND)
        found = storage.read(job_id, "results", 0)
        storage.delete(job_id)
    except FiqaError:
        with suppress(FiqaError):
            storage.delete(job_id)
        raise
    finally:
        for each in missing:
            with suppress(OSError):  # a job was created just now
                each.rmdir()
    if is_replaced or found == _SECOND:
        text = (
            f"{storage.url} ignores If-None-Match, so a late worker may replace results: use a store that honors it,"
            " such as Amazon's, Ceph, MinIO or SeaweedFS"
        )
        yield Finding("storage", State.WARNING, text)
    elif found != _FIRST:
        yield Finding(
            "storage", State.WRONG, f"{storage.url} returns other bytes than were written: use another storage"
        )
    elif missing and folder in missing:
        text = f"{storage.url} can be written, but does not exist yet: is this the folder that all machines share?"
        yield Finding("storage", State.WARNING, text)
    else:
        yield Finding("storage", State.OK, f"{storage.url}: written, not overwritten, read back, deleted")
