"""Where manifests and result shards live: in Redis, in S3 or in a folder.

A job has one gzipped JSONL of items and one of results a chunk. A result shard is written once: who comes second finds
the first one's and leaves it, so a worker that was late changes nothing.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

from fiqa_producer.errors import HomeError, SettingsError, SourceError
from fiqa_producer.ledger import Ledger, job_key

if TYPE_CHECKING:
    from botocore.client import BaseClient

Part = Literal["manifest", "results"]

REDIS_HOME: Final = "redis"
_MAX_SHARD_BYTES: Final = 256 * 1024 * 1024


def pack(lines: Iterable[bytes]) -> bytes:
    """JSON lines to a gzipped file; equal lines give equal bytes."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=6, mtime=0)


def unpack(data: bytes) -> list[bytes]:
    """A gzipped file to its JSON lines.

    Raises:
        HomeError: it is not gzip, is cut off, or grows beyond what fiqa writes.
    """
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = inflate.decompress(data, _MAX_SHARD_BYTES)
    except zlib.error as error:
        raise HomeError(f"a shard is damaged: {error}") from None
    if not inflate.eof:
        raise HomeError("a shard is damaged: it is cut off, or larger than fiqa writes")
    return text.splitlines()


class Home(Protocol):
    """Every method raises HomeError where the store does not answer or refuses."""

    url: str

    def write(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        """Store, over what was there."""

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        """Store unless it is there; False: it was."""

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        """What was stored."""


def open_home(url: str, ledger: Ledger) -> Home:
    """The home that a URL names: `redis`, s3://bucket/prefix, or a folder (a path, or file://).

    Raises:
        SettingsError: the URL names none.
    """
    if url == REDIS_HOME:
        return RedisHome(ledger)
    scheme, separator, rest = url.partition("://")
    if not separator or (scheme == "file" and rest.startswith("/")):
        folder = Path(unquote(rest) if separator else url)
        return DirectoryHome(folder.expanduser().resolve())
    if scheme == "s3":
        return S3Home(url)
    raise SettingsError(f"FIQA_HOME: {url!r} is neither `redis` nor s3://bucket/prefix nor a folder, /path")


class RedisHome:
    """In hashes beside the ledger: no store to set up, all in Redis's memory."""

    url = REDIS_HOME

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def write(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        with self._ledger.errors():
            self._ledger.redis.hset(job_key(job_id, part), chunk, data)

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        with self._ledger.errors():
            return bool(self._ledger.redis.hsetnx(job_key(job_id, part), chunk, data))

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        with self._ledger.errors():
            data = self._ledger.redis.hget(job_key(job_id, part), chunk)
        if data is None:
            raise HomeError(f"{part} {chunk} of job {job_id} is not in Redis: was the job deleted?")
        return bytes(data)


class DirectoryHome:
    """In a folder that producers and workers share; the names are those of S3Home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def write(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        self._store(self._folder / _name(job_id, part, chunk), data, once=False)

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        return self._store(self._folder / _name(job_id, part, chunk), data, once=True)

    def _store(self, path: Path, data: bytes, *, once: bool) -> bool:
        temporary = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                temporary = file.name
                file.write(data)
                if once:  # results, which count as done from here on, even if the machine loses power
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
            raise HomeError(f"cannot write {path}: {error.strerror}: free it, or set FIQA_HOME") from error
        finally:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108  "" is no path when the file was never made

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        path = self._folder / _name(job_id, part, chunk)
        try:
            return path.read_bytes()
        except OSError as error:
            raise HomeError(f"cannot read {path}: {error.strerror}") from error


class S3Home:
    """Under a prefix of an S3-compatible bucket, readable by others' tools: jobs/{id}/results/*.jsonl.gz."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise SettingsError(f"FIQA_HOME: {url!r} names no bucket: s3://bucket/prefix")
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{self._bucket}/{prefix}".rstrip("/")
        self._client = s3_client()

    def write(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        self._put(_name(job_id, part, chunk), data)

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        return self._put(_name(job_id, part, chunk), data, IfNoneMatch="*")

    def _put(self, name: str, data: bytes, *, tries: int = 3, **conditions: str) -> bool:
        key = self._prefix + name
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType="application/gzip", **conditions
            )
        except _boto_errors() as error:
            code = _code(error)
            if code in {"PreconditionFailed", "412"}:
                return False
            # Two conditional writes at once: Amazon asks for another try, which boto3 does not make by itself.
            if code == "ConditionalRequestConflict" and tries > 1:
                time.sleep(0.5)
                return self._put(name, data, tries=tries - 1, **conditions)
            raise HomeError(f"cannot write s3://{self._bucket}/{key}: {s3_reason(error)}") from error
        return True

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        key = self._prefix + _name(job_id, part, chunk)
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except _boto_errors() as error:
            raise HomeError(f"cannot read s3://{self._bucket}/{key}: {s3_reason(error)}") from error


def list_objects(bucket: str, prefix: str) -> Iterator[str]:
    """The keys under a prefix, page by page.

    Raises:
        SourceError: the bucket cannot be listed.
    """
    try:
        pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for entry in page.get("Contents", ()):
                yield entry["Key"]
    except _boto_errors() as error:
        raise SourceError(f"cannot list s3://{bucket}/{prefix}: {s3_reason(error)}") from error


def s3_client() -> BaseClient:
    """An S3 client with boto3's own settings and credentials; safe to share between threads.

    Raises:
        SettingsError: boto3's settings are wrong.
    """
    # Here and not above: a producer whose home is Redis or a folder has no use for 0.1 s of boto3.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    config = Config(
        connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=32
    )
    try:
        # A session of its own: making clients of boto3's shared one is not safe in threads.
        return boto3.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"S3: {error}: check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from error


def s3_reason(error: Exception) -> str:
    """One line for the person who reads it: the server's code, or what boto3 says, and what to do."""
    hints = {
        "NoSuchBucket": "no such bucket: make it",
        "AccessDenied": "access denied: check the bucket's policy and AWS_PROFILE or AWS_ACCESS_KEY_ID",
        "InvalidAccessKeyId": "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
        "NoSuchKey": "no such object: was the job deleted?",
        "NoCredentialsError": "no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    }
    code = _code(error)
    text = f"the store answered {code}" if code else " ".join(str(error).split())
    return hints.get(code or type(error).__name__, text)


def _code(error: Exception) -> str:
    response: Any = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _boto_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # noqa: PLC0415  see s3_client

    return BotoCoreError, ClientError, HTTPClientError


def _name(job_id: str, part: Part, chunk: int) -> str:
    return f"jobs/{job_id}/{part}/{chunk:08d}.jsonl.gz"
