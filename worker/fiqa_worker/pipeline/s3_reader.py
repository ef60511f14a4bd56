"""Bucket and key -> bytes, from S3; every server error ends as one ImageFailure."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

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

from fiqa.s3 import BUCKET_NAME, s3_session
from fiqa_worker.errors import AccessDenied, FetchFailed, FetchTimeout, ImageFailure, NotFound
from fiqa_worker.pipeline.file_bytes import LARGE_BYTES, FileBytes, check_size, large_buffer

TRIES: Final = 3
# A job may name any number of buckets, and each open store holds connections.
OPEN_STORES: Final = 32

_PART_BYTES: Final = 1 << 17

# boto3 returns credentials that are valid for at least ten minutes.
_CREDENTIALS_TTL: Final = timedelta(minutes=10)
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")

if TYPE_CHECKING:
    from obstore.store import ClientConfig  # does not exist at run time

_Client: TypeAlias = Any  # boto3 ships no types


class S3Reader:
    """Reads objects through obstore, with the endpoint, region and credentials that boto3 finds.

    obstore takes 0.14 ms of processor time for an object of 25 KB, boto3 0.92 ms.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._store = lru_cache(OPEN_STORES)(self._open)
        self._opening = Lock()  # a boto3 session makes one client at a time

    def read(self, bucket: str, key: str, version: str | None = None) -> FileBytes:
        """Read one object, or one version of it.

        Raises:
            NotFound, AccessDenied, TooLarge, FetchTimeout, FetchFailed: as Fetcher.fetch says.
        """
        if not BUCKET_NAME.fullmatch(bucket):
            raise NotFound(f"{bucket!r} cannot be the name of a bucket")
        if not key:
            raise NotFound("the URI names a bucket and no object in it")
        try:
            store = self._store(bucket)
        except (BotoCoreError, BaseError, OSError, ValueError) as error:
            raise FetchFailed(f"the S3 settings do not work: {str(error).splitlines()[0]}") from None
        if key.startswith("/") or key.endswith("/"):  # obstore would strip these slashes and read another object
            return self._read_with_boto3(bucket, key, version)
        try:
            result = store.get(key, options={"version": version} if version else None)
            size = result.meta["size"]
            check_size(size, self._max_bytes)
            if size < LARGE_BYTES:
                return bytes(result.bytes())
            buffer = large_buffer(size)
            for part in result.stream(_PART_BYTES):
                buffer.write(part)
            return buffer
        except ValueError:  # obstore refuses keys with an empty segment, '.', '..' or a control character; S3 does not
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
        # Amazon's certificate does not match a host name that holds a bucket name with a dot.
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
            # Every option is passed: obstore reads missing ones from the environment, by other rules than boto3's.
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
                check_size(answer["ContentLength"], self._max_bytes)
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
        # The details are only in the error's text. Only what is matched here goes into the message.
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
    if code == "RequestTimeTooSkewed":  # not the image's fault: another worker can read it
        return FetchFailed("the S3 server refuses the time of this worker's clock: set the clock")
    answer = f"{status} {code}".rstrip()
    match status:
        case 404:
            return NotFound("no such object in the bucket")
        case 401 | 403:
            return AccessDenied(f"the S3 server refuses access: {answer}")
        case _:
            return FetchFailed(f"the S3 server answers {answer}")
