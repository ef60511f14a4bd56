"""Storage below a prefix of an S3-compatible bucket, readable by other tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fiqa.errors import LostShardError, SettingsError, StorageError
from fiqa.s3 import BUCKET_NAME, s3_client
from fiqa.s3_errors import describe, in_words, s3_errors, stale_credentials
from fiqa.s3_uri import advice_for
from fiqa.storage.layout import JOBS, Document, Part, chunks_of, document_path, job_path, part_path, shard_path

if TYPE_CHECKING:
    from botocore.client import BaseClient

# The answers of Amazon to two writes of one object at once, and of other stores to a write while the bucket changes.
_CONFLICTS: Final = {"ConditionalRequestConflict", "OperationAborted"}
_CONFLICT_TRIES: Final = 3
_CONFLICT_PAUSE_S: Final = 0.5


class S3Storage:
    """Objects below a prefix. They have the same names as the files of DirectoryStorage."""

    def __init__(self, url: str, *, new_client: Callable[[], BaseClient] = s3_client) -> None:
        """Make the client. The first call connects.

        Args:
            url: s3://bucket/prefix.
            new_client: makes the client; called again if its credentials have expired.

        Raises:
            SettingsError: the URL names no bucket, or boto3's settings are wrong.
        """
        parts = urlsplit(url)
        if not parts.netloc:
            raise SettingsError(f"FIQA_STORAGE: {url!r} names no bucket: s3://bucket/prefix")
        if not BUCKET_NAME.fullmatch(parts.netloc):
            # It is not shown: a key and its secret may stand before an @.
            raise SettingsError(f"FIQA_STORAGE: {advice_for(url) or 'not the name of a bucket: s3://bucket/prefix'}")
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{self._bucket}/{prefix}".rstrip("/")
        self._new_client = new_client
        self._client: Any = new_client()

    def write_once(self, job_id: str, part: Part, chunk: int, data: bytes) -> bool:
        return self._put(shard_path(job_id, part, chunk), data, content_type="application/gzip", IfNoneMatch="*")

    def replace(self, job_id: str, part: Part, chunk: int, data: bytes) -> None:
        self._put(shard_path(job_id, part, chunk), data, content_type="application/gzip")

    def write_document(self, job_id: str, name: Document, data: bytes) -> None:
        self._put(document_path(job_id, name), data, content_type="application/json")

    def _put(
        self, name: str, data: bytes, *, content_type: str, tries: int = _CONFLICT_TRIES, **conditions: str
    ) -> bool:
        key = self._prefix + name
        try:
            self._call("put_object", Key=key, Body=data, ContentType=content_type, **conditions)
        except s3_errors() as error:
            problem = describe(error)
            if problem.code in {"PreconditionFailed", "412"}:
                return False
            # Amazon asks for a retry after two conditional writes at once. boto3 does not retry.
            if problem.code in _CONFLICTS and tries > 1:
                time.sleep(_CONFLICT_PAUSE_S)
                return self._put(name, data, content_type=content_type, tries=tries - 1, **conditions)
            raise StorageError(f"cannot write s3://{self._bucket}/{key}: {problem.text}") from error
        return True

    def read(self, job_id: str, part: Part, chunk: int) -> bytes:
        try:
            return self._get(shard_path(job_id, part, chunk))
        except StorageError as error:
            if describe(error.__cause__).code == "NoSuchKey":
                raise LostShardError(str(error)) from error.__cause__
            raise

    def read_document(self, job_id: str, name: Document) -> bytes | None:
        try:
            return self._get(document_path(job_id, name))
        except StorageError as error:
            if describe(error.__cause__).code == "NoSuchKey":
                return None
            raise

    def _get(self, name: str) -> bytes:
        key = self._prefix + name
        try:
            return bytes(self._call("get_object", Key=key)["Body"].read())
        except s3_errors() as error:
            raise StorageError(f"cannot read s3://{self._bucket}/{key}: {describe(error).text}") from error

    def chunks(self, job_id: str, part: Part) -> list[int]:
        return chunks_of(
            key.rpartition("/")[2] for page in self._pages(f"{part_path(job_id, part)}/") for key in _keys(page)
        )

    def delete(self, job_id: str) -> None:
        for page in self._pages(f"{job_path(job_id)}/"):
            objects = [{"Key": key} for key in _keys(page)]
            if not objects:
                continue
            try:
                answer = self._call("delete_objects", Delete={"Objects": objects, "Quiet": True})
            except s3_errors() as error:
                raise StorageError(f"cannot delete objects of s3://{self._bucket}: {describe(error).text}") from error
            for failed in answer.get("Errors", ()):
                raise StorageError(f"cannot delete s3://{self._bucket}/{failed['Key']}: {in_words(failed['Code'])}")

    def jobs(self) -> list[str]:
        pages = self._pages(f"{JOBS}/", Delimiter="/")
        return sorted(found["Prefix"].split("/")[-2] for page in pages for found in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        while True:
            try:
                page = self._call("list_objects_v2", Prefix=self._prefix + prefix, **options)
            except s3_errors() as error:
                raise StorageError(
                    f"cannot list s3://{self._bucket}/{self._prefix}{prefix}: {describe(error).text}"
                ) from error
            yield page
            if not page.get("IsTruncated"):
                return
            options["ContinuationToken"] = page["NextContinuationToken"]

    def _call(self, operation: str, **parameters: Any) -> Any:
        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **parameters)
        except s3_errors() as error:
            if not stale_credentials(error):
                raise
            # Workers keep this object for long, but a client does not look for credentials again. So make a new client.
            try:
                self._client = self._new_client()
            except SettingsError:
                raise error from None
            return getattr(self._client, operation)(Bucket=self._bucket, **parameters)


def _keys(page: dict[str, Any]) -> list[str]:
    return [found["Key"] for found in page.get("Contents", ())]
