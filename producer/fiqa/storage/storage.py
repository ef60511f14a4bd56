"""Where manifests and result shards live: in Redis, in S3 or in a folder.

A job has one gzipped JSONL of items and one of results a chunk, and, outside of Redis, two documents: job.json, from
which its ledger can be rebuilt, and summary.json at the end. A shard is written once: who comes second finds the first
one's and leaves it, so a worker that was late changes nothing, and two submits never mix.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import shutil
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

from fiqa.contract import REDIS_STORAGE
from fiqa.errors import SettingsError, StorageError
from fiqa.ledger.keys import job_key
from fiqa.ledger.ledger import Ledger
from fiqa.s3 import describe, s3_client, s3_errors

Part = Literal["manifest", "results"]
Document = Literal["job", "summary"]

_MAX_SHARD_BYTES: Final = 256 * 1024 * 1024
_MAX_SHARD_LINES: Final = 1_000_000
_SHARD_NAME: Final = re.compile(r"[0-9]{8}\.jsonl\.gz")
_READ_PREFETCH: Final = 8
# Of a folder that a submit still writes to, and soon finds that it has no job any more.
_DELETE_TRIES: Final = 20
_DELETE_PAUSE_S: Final = 0.05


def pack(lines: Iterable[bytes]) -> bytes:
    """JSON lines to a gzipped file; equal lines give equal bytes."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=6, mtime=0)


def unpack(data: bytes) -> list[bytes]:
    """A gzipped file to its JSON lines.

    Raises:
        StorageError: it is not gzip, is cut off, or grows beyond what fiqa writes.
    """
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = inflate.decompress(data, _MAX_SHARD_BYTES)
    except zlib.error as error:
        raise StorageError(f"a shard is damaged: {error}") from None
    if not inflate.eof:
        raise StorageError("a shard is damaged: it is cut off, or larger than fiqa writes")
    if text.count(b"\n") > _MAX_SHARD_LINES:  # each costs more than it holds
        raise StorageError("a shard is damaged: it has more lines than fiqa writes")
    return text.splitlines()


class Storage(Protocol):
    """Every method raises StorageError where the store does not answer or refuses."""

    url: str

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        """Store unless it is there; False: it was."""

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        """What was stored."""

    def chunks(self, job_id: str, part: Part) -> list[int]:
        """Which were stored, in order."""

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        """Store a job's document, over what was there."""

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        """What was stored; None: nothing."""

    def delete(self, job_id: str) -> None:
        """Delete all of a job, as far as it is there."""

    def jobs(self) -> list[str]:
        """The jobs that can be recovered from here, oldest first."""


def read_ahead(storage: Storage, job_id: str, part: Part, chunks: Iterable[int]) -> Iterator[tuple[int, list[bytes]]]:
    """The JSON lines of one chunk after the other; threads read a few ahead.

    Raises:
        StorageError: one cannot be read.
    """
    pool = ThreadPoolExecutor(_READ_PREFETCH, thread_name_prefix="read")
    waiting: deque[tuple[int, Future[bytes]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(storage.read, job_id, part, chunk)))
            if len(waiting) == _READ_PREFETCH:
                number, data = waiting.popleft()
                yield number, unpack(data.result())
        for number, data in waiting:
            yield number, unpack(data.result())
    finally:
        pool.shutdown(cancel_futures=True)


def open_storage(url: str, ledger: Ledger) -> Storage:
    """The storage that a URL names: `redis`, s3://bucket/prefix, or a folder (a path, or file://).

    Raises:
        SettingsError: the URL names none.
    """
    if url == REDIS_STORAGE:
        return RedisStorage(ledger)
    scheme, separator, rest = url.partition("://")
    if not separator or (scheme == "file" and rest.startswith("/")):
        folder = Path(unquote(rest) if separator else url)
        return DirectoryStorage(folder.expanduser().resolve())
    if scheme == "s3":
        return S3Storage(url)
    shown = re.sub(r"(?<=://)[^/?#]*@|\?.*", "", url)  # without a password or a signature
    raise SettingsError(f"FIQA_STORAGE: {shown!r} is neither `redis` nor s3://bucket/prefix nor a folder, /path")


class RedisStorage:
    """In hashes beside the ledger: no store to set up, all in Redis's memory."""

    url = REDIS_STORAGE

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger.connection
        self._store_once = self._connection.script("store_once")

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        with self._connection.errors():
            return bool(self._store_once(args=[job_id, part, chunk, data]))

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        with self._connection.errors():
            data = self._connection.redis.hget(job_key(job_id, part), chunk)
        if data is None:
            raise StorageError(f"{part} {chunk} of job {job_id} is not in Redis: was the job deleted?")
        return bytes(data)

    def chunks(self, job_id: str, part: Part) -> list[int]:
        with self._connection.errors():
            return sorted(int(chunk) for chunk in self._connection.redis.hkeys(job_key(job_id, part)))

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        """Nothing to do: the ledger beside it knows all that they would say."""

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        del job_id, name
        return None

    def delete(self, job_id: str) -> None:
        with self._connection.errors():
            self._connection.redis.unlink(job_key(job_id, "manifest"), job_key(job_id, "results"))

    def jobs(self) -> list[str]:
        return []


class DirectoryStorage:
    """In a folder that producers and workers share; the names are those of S3Storage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        # Results count as done from here on, even if the machine loses power.
        return self._store(self._folder / _name(job_id, part, chunk), data, once=True, sync=part == "results")

    def _store(self, path: Path, data: bytes, *, once: bool, sync: bool = False) -> bool:
        temporary = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                temporary = file.name
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            if not once:
                Path(temporary).replace(path)
                return True
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            return True
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}: free it, or set FIQA_STORAGE") from error
        finally:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108  "" is no path when the file was never made

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        path = self._folder / _name(job_id, part, chunk)
        try:
            return path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error

    def chunks(self, job_id: str, part: Part) -> list[int]:
        return _chunks(self._names(self._folder / "jobs" / job_id / part))

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        self._store(self._folder / "jobs" / job_id / f"{name}.json", data, once=False)

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        path = self._folder / "jobs" / job_id / f"{name}.json"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error

    def delete(self, job_id: str) -> None:
        folder = self._folder / "jobs" / job_id
        for _ in range(_DELETE_TRIES):
            try:
                shutil.rmtree(folder)
            except OSError as error:
                # A file came, or went, meanwhile.
                if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
                    raise StorageError(
                        f"cannot delete {error.filename}: {error.strerror}: free it, and try again"
                    ) from error
            if not folder.exists():
                return
            time.sleep(_DELETE_PAUSE_S)
        raise StorageError(f"cannot delete {folder}: something still writes there: stop that, and try again")

    def jobs(self) -> list[str]:
        return sorted(self._names(self._folder / "jobs"))

    def _names(self, folder: Path) -> list[str]:
        try:
            return [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"cannot read {folder}: {error.strerror}") from error


class S3Storage:
    """Under a prefix of an S3-compatible bucket, readable by others' tools: jobs/{id}/results/*.jsonl.gz."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise SettingsError(f"FIQA_STORAGE: {url!r} names no bucket: s3://bucket/prefix")
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{self._bucket}/{prefix}".rstrip("/")
        self._client = s3_client()

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        self._put(f"jobs/{job_id}/{name}.json", data, content_type="application/json")

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        return self._put(_name(job_id, part, chunk), data, IfNoneMatch="*")

    def _put(
        self, name: str, data: bytes, *, content_type: str = "application/gzip", tries: int = 3, **conditions: str
    ) -> bool:
        key = self._prefix + name
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, **conditions)
        except s3_errors() as error:
            code = describe(error).code
            if code in {"PreconditionFailed", "412"}:
                return False
            # Two conditional writes at once: Amazon asks for another try, which boto3 does not make by itself.
            if code == "ConditionalRequestConflict" and tries > 1:
                time.sleep(0.5)
                return self._put(name, data, content_type=content_type, tries=tries - 1, **conditions)
            raise StorageError(f"cannot write s3://{self._bucket}/{key}: {describe(error).text}") from error
        return True

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        return self._get(_name(job_id, part, chunk))

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        try:
            return self._get(f"jobs/{job_id}/{name}.json")
        except StorageError as error:
            if describe(error.__cause__).code == "NoSuchKey":
                return None
            raise

    def _get(self, name: str) -> bytes:
        key = self._prefix + name
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except s3_errors() as error:
            raise StorageError(f"cannot read s3://{self._bucket}/{key}: {describe(error).text}") from error

    def chunks(self, job_id: str, part: Part) -> list[int]:
        return _chunks(key.rpartition("/")[2] for page in self._pages(f"jobs/{job_id}/{part}/") for key in _keys(page))

    def delete(self, job_id: str) -> None:
        for page in self._pages(f"jobs/{job_id}/"):
            objects = [{"Key": key} for key in _keys(page)]
            if not objects:
                continue
            try:
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            except s3_errors() as error:
                raise StorageError(f"cannot remove objects of s3://{self._bucket}: {describe(error).text}") from error
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise StorageError(
                    f"cannot delete s3://{self._bucket}/{first['Key']}: the store answered {first['Code']}"
                )

    def jobs(self) -> list[str]:
        pages = self._pages("jobs/", Delimiter="/")
        return sorted(entry["Prefix"].split("/")[-2] for page in pages for entry in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        try:
            lister = self._client.get_paginator("list_objects_v2")
            yield from lister.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix, **options)
        except s3_errors() as error:
            raise StorageError(
                f"cannot list s3://{self._bucket}/{self._prefix}{prefix}: {describe(error).text}"
            ) from error


def _keys(page: dict[str, Any]) -> list[str]:
    return [entry["Key"] for entry in page.get("Contents", ())]


def _chunks(names: Iterable[str]) -> list[int]:
    return sorted(int(name[:8]) for name in names if _SHARD_NAME.fullmatch(name))


def _name(job_id: str, part: Part, chunk: int) -> str:
    return f"jobs/{job_id}/{part}/{chunk:08d}.jsonl.gz"
