"""Reads the bytes of a URI from S3 or the disk, within limits. Every error of an image ends as one ImageFailure."""

from __future__ import annotations

from collections.abc import Sequence

from fiqa.errors import SettingsError
from fiqa_worker.errors import FetchFailed, NotFound, SourceNotAllowed
from fiqa_worker.pipeline.file_bytes import FileBytes
from fiqa_worker.pipeline.files import is_below, not_allowed, read_file
from fiqa_worker.pipeline.roots import Roots, path_of
from fiqa_worker.pipeline.s3_reader import S3Reader


class Fetcher:
    """Reads the bytes behind URIs. All threads of a process may share one Fetcher.

    s3:// URIs are taken literally, as the aws command does; file:// URIs are percent-decoded, as RFC 8089 says.
    """

    def __init__(
        self, allowed: Sequence[str], *, max_bytes: int, timeout_s: float = 10.0, patience_s: float = 20.0
    ) -> None:
        """Check the prefixes. Nothing is opened yet.

        Args:
            allowed: URI prefixes that may be read, such as s3://, s3://photos/2024 or file:///data. A prefix allows
                exactly that name, and all that is below it: s3://photos does not allow s3://photos-private.
            max_bytes: the size limit of one image. A larger image is not read.
            timeout_s: the limit for one try of an S3 request and its body. There are at most three tries.
            patience_s: how long a request is tried again if S3 throttles it.

        Raises:
            SettingsError: a prefix starts with neither s3:// nor file:///.
        """
        for prefix in allowed:
            if not prefix.startswith(("s3://", "file:///")):
                raise SettingsError(f"FIQA_ALLOWED_SOURCES: {prefix!r} begins with neither s3:// nor file:///")
        self._s3_prefixes = [prefix for prefix in allowed if prefix.startswith("s3://")]
        self._folders = [path_of(prefix) for prefix in allowed if prefix.startswith("file://")]
        self._roots = Roots(allowed)
        self._max_bytes = max_bytes
        self._s3 = S3Reader(max_bytes=max_bytes, timeout_s=timeout_s, patience_s=patience_s)

    def fetch(self, uri: str, version: str | None = None) -> FileBytes:
        """Read the bytes of one image, as they are stored.

        Args:
            uri: s3://bucket/key or file:///path.
            version: a version of an S3 object; None for the newest.

        Raises:
            SourceNotAllowed: not an s3:// or file:// URI, or not below an allowed prefix.
            NotFound: no such object, bucket or file.
            AccessDenied: the server or the file system refuses.
            TooLarge: more than max_bytes.
            FetchTimeout: the server took too long.
            FetchFailed: it could not be read for another reason.
            SourceUnavailable: this worker cannot read that source now. Reasons are missing credentials, a wrong
                setting, throttling, or a missing folder.
        """
        scheme, separator, rest = uri.partition("://")
        if not separator:
            raise SourceNotAllowed("not a URI: write s3://bucket/key or file:///path")
        if scheme == "s3" and any(is_below(uri, prefix) for prefix in self._s3_prefixes):
            bucket, _, key = rest.partition("/")
            return self._s3.read(bucket, key, version)
        if scheme == "file":
            path = path_of(uri)
            try:
                return read_file(path, self._folders, max_bytes=self._max_bytes)
            except (NotFound, FetchFailed):
                self._roots.check(path)  # a share that is not mounted lacks every file
                raise
        raise not_allowed()
