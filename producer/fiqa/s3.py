"""S3 for producers: a client with boto3's own settings, listing in parallel, and objects read as files."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from fiqa.errors import SettingsError, SourceError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader
    from botocore.session import Session

_LISTERS: Final = 8
_ENOUGH_PREFIXES: Final = 32
_WHOLE: Final = 4  # levels down; from here on a prefix is listed whole and split no more
_READ_BYTES: Final = 8 * 1024 * 1024
_READ_TRIES: Final = 3


def s3_session() -> Session:
    """A session of its own for each client, since making clients of a shared one is not safe in threads.

    They share what botocore knows of S3: that takes 12 MB.
    """
    # Here and not above: a producer whose storage is Redis or a folder has no use for 0.1 s of boto3.
    from botocore.session import get_session  # noqa: PLC0415

    session = get_session()
    loader = _loader()
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each boto3.Session adds its own once more
    session.register_component("data_loader", loader)
    return session


@cache
def _loader() -> Loader:
    from botocore.session import get_session  # noqa: PLC0415  see s3_session

    loader: Loader = get_session().get_component("data_loader")
    return loader


def s3_client() -> BaseClient:
    """An S3 client with boto3's own settings and credentials; safe to share between threads.

    Raises:
        SettingsError: boto3's settings are wrong.
    """
    import boto3  # noqa: PLC0415  see s3_session
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    config = Config(
        connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=32
    )
    try:
        return boto3.Session(botocore_session=s3_session()).client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"S3: {error}: check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from error


def s3_errors() -> tuple[type[Exception], ...]:
    """What calls of a client raise."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # noqa: PLC0415  see s3_client

    return BotoCoreError, ClientError, HTTPClientError


def s3_code(error: Exception) -> str:
    """The server's code, or nothing where the error is not the server's."""
    response: Any = getattr(error, "response", None) or {}  # of a connection that broke off it is None
    return str(response.get("Error", {}).get("Code", ""))


def s3_reason(error: Exception) -> str:
    """One line for the person who reads it: the server's code, or what boto3 says, and what to do."""
    hints = {
        "NoSuchBucket": "no such bucket: make it",
        "AccessDenied": "access denied: check the bucket's policy and AWS_PROFILE or AWS_ACCESS_KEY_ID",
        "InvalidAccessKeyId": "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
        "NoSuchKey": "no such object: was it deleted?",
        "404": "no such object or bucket",
        "403": "access denied: check the bucket's policy and AWS_PROFILE or AWS_ACCESS_KEY_ID",
        "PreconditionFailed": "it changed while it was read: begin again",
        "412": "it changed while it was read: begin again",
        "NoCredentialsError": "no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    }
    code = s3_code(error)
    text = f"the store answered {code}" if code else " ".join(str(error).split())
    return hints.get(code or type(error).__name__, text)


def list_objects(bucket: str, prefix: str) -> Iterator[str]:
    """The keys under a prefix: in order where one page holds them, else by several listers at once and in no order.

    Raises:
        SourceError: the bucket cannot be listed.
    """
    client = s3_client()
    first = _page(client, bucket, prefix)
    return _list_at_once(client, bucket, prefix) if first.get("IsTruncated") else iter(_keys(first))


def _list_at_once(client: BaseClient, bucket: str, prefix: str) -> Iterator[str]:
    """Sub-prefixes side by side: found level by level until there are enough to keep all listers busy."""
    pool = ThreadPoolExecutor(_LISTERS, thread_name_prefix="list")
    running: dict[Future[dict[str, Any]], tuple[str, int]] = {}

    def ask(parent: str, depth: int, **options: str) -> None:
        running[pool.submit(_page, client, bucket, parent, **options)] = parent, depth

    try:
        waiting = deque([(prefix, 0)])
        while waiting or running:
            while waiting and len(running) < _LISTERS:
                many = len(waiting) + len(running) >= _ENOUGH_PREFIXES
                parent, depth = waiting.popleft()
                if many or depth == _WHOLE:
                    ask(parent, _WHOLE)
                else:
                    ask(parent, depth, Delimiter="/")
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                page, (parent, depth) = done.result(), running.pop(done)
                if not page.get("IsTruncated"):
                    waiting.extend((entry["Prefix"], depth + 1) for entry in page.get("CommonPrefixes", ()))
                elif depth == _WHOLE:  # asked for before the keys are handed out, so that nobody waits
                    ask(parent, _WHOLE, ContinuationToken=page["NextContinuationToken"])
                else:  # too much on one level
                    waiting.append((parent, _WHOLE))
                    continue
                yield from _keys(page)
    finally:
        pool.shutdown(cancel_futures=True)


def _page(client: BaseClient, bucket: str, prefix: str, **options: str) -> dict[str, Any]:
    try:
        page: dict[str, Any] = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **options)
    except s3_errors() as error:
        raise SourceError(f"cannot list s3://{bucket}/{prefix}: {s3_reason(error)}") from error
    return page


def _keys(page: dict[str, Any]) -> list[str]:
    return [entry["Key"] for entry in page.get("Contents", ())]


class ObjectReader(io.RawIOBase):
    """An object as a file: read in ranges, so that a connection that is cut costs one range and not the whole.

    Reading raises SourceError where the object cannot be read, or has changed since it was opened.

    Attributes:
        name: its URI.
        size: bytes.
    """

    def __init__(self, bucket: str, key: str) -> None:
        self._client = s3_client()
        self.name = f"s3://{bucket}/{key}"
        self._where = {"Bucket": bucket, "Key": key}
        self._position = 0
        self._range = b""
        self._range_at = 0
        try:
            head = self._client.head_object(**self._where)
        except s3_errors() as error:
            raise SourceError(f"cannot read {self.name}: {s3_reason(error)}") from error
        self.size = int(head["ContentLength"])
        self._etag = str(head["ETag"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")
        if self._position >= self.size:
            return 0
        if not self._range_at <= self._position < self._range_at + len(self._range):
            self._range, self._range_at = self._read_range(self._position), self._position
        start = self._position - self._range_at
        part = self._range[start : start + len(wanted)]
        wanted[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _read_range(self, start: int) -> bytes:
        span = f"bytes={start}-{min(start + _READ_BYTES, self.size) - 1}"
        for tries_left in reversed(range(_READ_TRIES)):
            try:
                answer = self._client.get_object(**self._where, Range=span, IfMatch=self._etag)
                return bytes(answer["Body"].read())
            except s3_errors() as error:
                # boto3 itself tries again only until the body begins.
                if s3_code(error) or not tries_left:
                    raise SourceError(f"cannot read {self.name}: {s3_reason(error)}") from error
        raise AssertionError
