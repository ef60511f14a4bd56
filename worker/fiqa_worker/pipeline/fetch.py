"""URI -> bytes, from S3 or the disk, within its limits; every way it can go wrong ends in one ImageFailure."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from functools import cached_property, lru_cache
from mmap import ACCESS_COPY, mmap
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.session import Session
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, UnauthenticatedError
from obstore.store import S3Store

from fiqa.errors import SettingsError
from fiqa.s3 import s3_session
from fiqa_worker.errors import (
    AccessDenied,
    FetchFailed,
    FetchTimeout,
    ImageFailure,
    NotFound,
    SourceNotAllowed,
    TooLarge,
)
from fiqa_worker.pipeline.headers import FileBytes

TRIES: Final = 3
# A job may name any number of buckets; each open store holds connections of its own.
OPEN_STORES: Final = 32

# A large file gets pages of its own, which go with it. On the heap, where the memory of pictures is kept for the next
# one, it would lie in the next one's way.
_LARGE_BYTES: Final = 1 << 20
_PART_BYTES: Final = 1 << 17

# boto3 hands out credentials that are good for at least ten minutes.
_CREDENTIALS_TTL: Final = timedelta(minutes=10)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")

if TYPE_CHECKING:
    from obstore.store import ClientConfig  # there is none at run time

_Client: TypeAlias = Any  # boto3 ships no types


class Fetcher:
    """Reads the bytes behind URIs. All threads of a process may share one.

    s3:// URIs are taken literally, as the aws command does; file:// URIs are percent-decoded, as RFC 8089 says.
    """

    def __init__(self, allowed: Sequence[str], *, max_bytes: int, timeout_s: float = 10.0) -> None:
        """Opens nothing yet.

        Args:
            allowed: URI prefixes that may be read, such as s3://, s3://photos/2024 or file:///data. Each means that
                name and what is below it: s3://photos does not allow s3://photos-private.
            max_bytes: of one image; one that is larger is not read.
            timeout_s: of one try of an S3 request, its body included; there are at most three tries.

        Raises:
            SettingsError: a prefix begins with neither s3:// nor file:///.
        """
        for prefix in allowed:
            if not prefix.startswith(("s3://", "file:///")):
                raise SettingsError(f"FIQA_ALLOWED_SOURCES: {prefix!r} begins with neither s3:// nor file:///")
        self._s3_prefixes = [prefix for prefix in allowed if prefix.startswith("s3://")]
        self._roots = [_path(prefix) for prefix in allowed if prefix.startswith("file://")]
        self._max_bytes = max_bytes
        self._s3 = S3Reader(max_bytes=max_bytes, timeout_s=timeout_s)

    def fetch(self, uri: str, version: str | None = None) -> FileBytes:
        """Read one image, as it is stored.

        Args:
            uri: where it is.
            version: of an object in S3; None for the newest.

        Raises:
            SourceNotAllowed: not an s3:// or file:// URI, or not below an allowed prefix.
            NotFound: no such object, bucket or file.
            AccessDenied: the server or the file system refuses, or there are no S3 credentials.
            TooLarge: more than max_bytes.
            FetchTimeout: the server took too long.
            FetchFailed: it could not be read for another reason.
        """
        scheme, separator, rest = uri.partition("://")
        if not separator:
            raise SourceNotAllowed("not a URI: write s3://bucket/key or file:///path")
        if scheme == "s3" and any(_is_below(uri, prefix) for prefix in self._s3_prefixes):
            bucket, _, key = rest.partition("/")
            return self._s3.read(bucket, key, version)
        if scheme == "file":
            return read_file(_path(uri), self._roots, max_bytes=self._max_bytes)
        raise _not_allowed()


def read_file(path: str, roots: Sequence[str], *, max_bytes: int) -> FileBytes:
    """Read a regular file that is, after all symbolic links, below one of the roots.

    Raises:
        SourceNotAllowed, NotFound, AccessDenied, TooLarge, FetchFailed: as Fetcher.fetch says.
    """
    if ".." in path.split("/"):
        raise SourceNotAllowed("a file:// URI must not contain '..'")
    if "\0" in path:
        raise NotFound("no such file: its name contains a null character")
    real = os.path.realpath(path)
    if not any(_is_below(path, root) and _is_below(real, os.path.realpath(root)) for root in roots):
        raise _not_allowed()
    try:
        with open(real, "rb", opener=_open_safely) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise NotFound("no such file: a pipe or a device has this name")
            _check_size(status.st_size, max_bytes)
            if status.st_size >= _LARGE_BYTES:
                pages = mmap(-1, status.st_size, access=ACCESS_COPY)
                _check_unchanged(file.readinto(pages), status.st_size, file)
                return pages
            data = file.read(status.st_size or max_bytes + 1)  # there are file systems that tell no size
            if status.st_size:
                _check_unchanged(len(data), status.st_size, file)
    except OSError as error:
        raise _file_failure(error) from None
    _check_size(len(data), max_bytes)
    return data


class S3Reader:
    """Reads objects: obstore at a fraction of boto3's processor time, where and with what credentials boto3 says."""

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._store = lru_cache(OPEN_STORES)(self._open)
        self._opening = Lock()  # boto3 makes one client at a time of a session

    def read(self, bucket: str, key: str, version: str | None = None) -> FileBytes:
        """Read one object, or one version of it.

        Raises:
            NotFound, AccessDenied, TooLarge, FetchTimeout, FetchFailed: as Fetcher.fetch says.
        """
        if not _BUCKET.fullmatch(bucket):
            raise NotFound(f"{bucket!r} cannot be the name of a bucket")
        if not key:
            raise NotFound("the URI names a bucket and no object in it")
        try:
            store = self._store(bucket)
        except (BotoCoreError, BaseError, OSError, ValueError) as error:
            raise FetchFailed(f"the S3 settings do not work: {str(error).splitlines()[0]}") from None
        if key.startswith("/") or key.endswith("/"):  # obstore would take these slashes off, and read another object
            return self._read_with_boto3(bucket, key, version)
        try:
            result = store.get(key, options={"version": version} if version else None)
            size = result.meta["size"]
            _check_size(size, self._max_bytes)
            if size < _LARGE_BYTES:
                return bytes(result.bytes())
            pages = mmap(-1, size, access=ACCESS_COPY)
            for part in result.stream(_PART_BYTES):
                pages.write(part)
            return pages
        except ValueError:  # obstore takes no key with an empty segment, '.', '..' or a control character; S3 does
            return self._read_with_boto3(bucket, key, version)
        except (FileNotFoundError, BaseError) as error:
            raise self._obstore_failure(error, bucket) from None

    @cached_property
    def _session(self) -> Session:
        return s3_session()

    @cached_property
    def _client(self) -> _Client:
        config = Config(
            connect_timeout=self._timeout_s,
            read_timeout=self._timeout_s,
            retries={"mode": "standard", "total_max_attempts": TRIES},
        )
        return boto3.Session(botocore_session=self._session).client("s3", config=config)

    def _open(self, bucket: str) -> S3Store:
        with self._opening:
            meta = self._client.meta
            if self._session.get_credentials() is None:
                raise AccessDenied("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
            credentials = Boto3CredentialProvider(self._session, ttl=_CREDENTIALS_TTL)
            ca_bundle = self._session.get_config_variable("ca_bundle")
        endpoint = urlsplit(meta.endpoint_url.rstrip("/"))
        style = (meta.config.s3 or {}).get("addressing_style", "auto")
        on_aws = str(endpoint.hostname).endswith((".amazonaws.com", ".amazonaws.com.cn"))
        # A dot in the bucket's name would not fit Amazon's certificate.
        virtual = style == "virtual" or (style == "auto" and on_aws and "." not in bucket)
        url = endpoint._replace(netloc=f"{bucket}.{endpoint.netloc}").geturl() if virtual else endpoint.geturl()
        timeout = timedelta(seconds=self._timeout_s)
        options: ClientConfig = {"timeout": timeout, "connect_timeout": timeout}
        if endpoint.scheme == "http":
            options["allow_http"] = True
        elif ca_bundle:
            options["root_certificate"] = Path(ca_bundle).read_bytes()
        return S3Store(
            bucket,
            # All are given, since obstore would read what is not from the environment, by rules of its own.
            endpoint=url,
            aws_endpoint_url_s3=url,
            region=meta.region_name,
            virtual_hosted_style_request=virtual,
            skip_signature=False,
            credential_provider=credentials,
            client_options=options,
            retry_config={"max_retries": TRIES - 1, "retry_timeout": 2 * timeout},
        )

    def _read_with_boto3(self, bucket: str, key: str, version: str | None) -> bytes:
        options = {"VersionId": version} if version else {}
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **options)
            with closing(answer["Body"]) as body:
                _check_size(answer["ContentLength"], self._max_bytes)
                return bytes(body.read())
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            raise _refusal(status, error.response["Error"]["Code"], bucket) from None
        except (ConnectTimeoutError, ReadTimeoutError):
            raise self._timed_out() from None
        except EndpointConnectionError:
            raise self._not_connected() from None
        except BotoCoreError:
            raise FetchFailed("no whole answer from the S3 server") from None

    def _obstore_failure(self, error: Exception, bucket: str) -> ImageFailure:
        # The details stand in the error's text alone. Of that only what is matched here is passed on.
        text = str(error)
        status = _STATUS.search(text)
        if status:
            code = _CODE.search(text)
            return _refusal(int(status[1]), code[1] if code else "", bucket)
        if "kind: Timeout" in text:
            return self._timed_out()
        if "kind: Connect" in text:
            return self._not_connected()
        if "redirect without LOCATION" in text:
            return FetchFailed(f"bucket {bucket} is in another region: set AWS_DEFAULT_REGION to that one")
        if isinstance(error, UnauthenticatedError):
            return FetchFailed("the S3 credentials could not be renewed")
        return FetchFailed("no whole answer from the S3 server")

    def _timed_out(self) -> FetchTimeout:
        return FetchTimeout(f"no whole answer from the S3 server within {self._timeout_s:g} s a try")

    def _not_connected(self) -> FetchFailed:
        return FetchFailed(f"no connection to the S3 server at {urlsplit(self._client.meta.endpoint_url).hostname}")


def _refusal(status: int, code: str, bucket: str) -> ImageFailure:
    if code == "NoSuchBucket":
        return NotFound(f"no such bucket: {bucket}")
    if code == "RequestTimeTooSkewed":  # it is no matter of the image's: another worker can read it
        return FetchFailed("the S3 server refuses the time of this worker's clock: set the clock")
    answer = f"{status} {code}".rstrip()
    match status:
        case 404:
            return NotFound("no such object in the bucket")
        case 401 | 403:
            return AccessDenied(f"the S3 server refuses access: {answer}")
        case _:
            return FetchFailed(f"the S3 server answers {answer}")


def _file_failure(error: OSError) -> ImageFailure:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.ENAMETOOLONG | errno.ENXIO:
            return NotFound("no such file")
        case errno.EISDIR:
            return NotFound("no such file: a folder has this name")
        case errno.EACCES | errno.EPERM:
            return AccessDenied("the worker's user may not read this file")
        case _:
            return FetchFailed(f"the file cannot be read: {error.strerror}")


def _open_safely(path: str, flags: int) -> int:
    # A link put in place a moment ago is not followed, and a pipe without a writer does not block.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _not_allowed() -> SourceNotAllowed:
    return SourceNotAllowed("not below any prefix in the worker's FIQA_ALLOWED_SOURCES")


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(f"{size:,} bytes, and at most {max_bytes:,} are allowed")


def _check_unchanged(read: int, size: int, file: IO[bytes]) -> None:
    if read < size or file.read(1):
        raise FetchFailed("the file changed while it was read")


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix if prefix.endswith("/") else prefix + "/")


def _path(uri: str) -> str:
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
