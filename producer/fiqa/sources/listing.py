"""S3 as a source: the keys under a prefix, listed in parallel, and an object read as a file."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

from fiqa.errors import SourceError
from fiqa.s3 import s3_client
from fiqa.s3_errors import describe, s3_errors

if TYPE_CHECKING:
    from botocore.client import BaseClient

_LISTERS: Final = 8
_ENOUGH_PREFIXES: Final = 32
_LAST_LEVEL: Final = 4  # levels down; a prefix this deep is listed whole and not split
_READ_BYTES: Final = 8 * 1024 * 1024
_READ_TRIES: Final = 3


def list_objects(bucket: str, prefix: str) -> Iterator[str]:
    """List the keys under a prefix.

    If one page holds them all, they come in order. Else several threads list at once, and the keys come in no order.

    Raises:
        SourceError: the bucket cannot be listed.
    """
    client = s3_client(for_images=True)
    first = _page(client, bucket, prefix)
    return _list_in_parallel(client, bucket, prefix) if first.get("IsTruncated") else iter(_keys(first))


def _list_in_parallel(client: BaseClient, bucket: str, prefix: str) -> Iterator[str]:
    """Split the prefix level by level until there are enough sub-prefixes to keep all listers busy."""
    pool = ThreadPoolExecutor(_LISTERS, thread_name_prefix="list")
    running: dict[Future[dict[str, Any]], tuple[str, int]] = {}

    def request(parent: str, depth: int, **options: str) -> None:
        running[pool.submit(_page, client, bucket, parent, **options)] = parent, depth

    try:
        waiting = deque([(prefix, 0)])
        while waiting or running:
            while waiting and len(running) < _LISTERS:
                enough = len(waiting) + len(running) >= _ENOUGH_PREFIXES
                parent, depth = waiting.popleft()
                if enough or depth == _LAST_LEVEL:
                    request(parent, _LAST_LEVEL)
                else:
                    request(parent, depth, Delimiter="/")
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                page, (parent, depth) = done.result(), running.pop(done)
                if not page.get("IsTruncated"):
                    waiting.extend((found["Prefix"], depth + 1) for found in page.get("CommonPrefixes", ()))
                elif depth == _LAST_LEVEL:  # request the next page before yielding this one, so that no lister waits
                    request(parent, _LAST_LEVEL, ContinuationToken=page["NextContinuationToken"])
                else:  # this level alone fills more than a page: list the whole prefix instead
                    waiting.append((parent, _LAST_LEVEL))
                    continue
                yield from _keys(page)
    finally:
        pool.shutdown(cancel_futures=True)


def _page(client: BaseClient, bucket: str, prefix: str, **options: str) -> dict[str, Any]:
    try:
        page: dict[str, Any] = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **options)
    except s3_errors() as error:
        raise SourceError(f"cannot list s3://{bucket}/{prefix}: {describe(error).text}") from error
    return page


def _keys(page: dict[str, Any]) -> list[str]:
    return [found["Key"] for found in page.get("Contents", ())]


class ObjectReader(io.RawIOBase):
    """An object as a file. It is read in ranges, so a cut connection costs one range and not the whole object.

    Reading raises SourceError if the object cannot be read, or has changed since it was opened.

    Attributes:
        name: its URI.
        size: in bytes.
    """

    def __init__(self, bucket: str, key: str) -> None:
        """Ask S3 for the size.

        Raises:
            SourceError: there is no such object, or S3 refuses.
        """
        self._client = s3_client(for_images=True)
        self.name = f"s3://{bucket}/{key}"
        self._where = {"Bucket": bucket, "Key": key}
        self._position = 0
        self._range = b""
        self._range_at = 0
        try:
            head = self._client.head_object(**self._where)
        except s3_errors() as error:
            raise SourceError(f"cannot read {self.name}: {describe(error).text}") from error
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
                # boto3 itself retries only until the body begins.
                problem = describe(error)
                if problem.code or not tries_left:
                    raise SourceError(f"cannot read {self.name}: {problem.text}") from error
        raise AssertionError
