"""Reads objects from S3.

An error of an image ends as one ImageFailure. An error of this worker's connection to S3 (settings, credentials,
certificates, region, throttling) ends as SourceUnavailable: this worker may be able to read the image later, or another
worker may be.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.session import Session
from obstore.exceptions import BaseError
from obstore.store import S3Store

from fiqa.errors import SettingsError
from fiqa.s3 import BUCKET_NAME, bucket_address, ca_bundle, follow_bucket, proxy_of, s3_client, s3_session
from fiqa.s3_errors import OTHER_REGION, STALE_CREDENTIALS
from fiqa.s3_uri import advice_for
from fiqa.settings import Settings
from fiqa_worker.errors import NotFound, SourceUnavailable
from fiqa_worker.pipeline.file_bytes import LARGE_BYTES, FileBytes, check_size, large_buffer
from fiqa_worker.pipeline.s3_answers import Answer, answer_of

TRIES: Final = 3
# A limit is needed: a job may name any number of buckets, and each open store holds connections.
OPEN_STORES: Final = 32

_PART_BYTES: Final = 1 << 17

# botocore returns credentials that are valid for at least ten minutes.
_CREDENTIALS_TTL: Final = timedelta(minutes=10)
# If the connection cannot be opened, the next try is after this time. Without a pause, each of 16 threads would try,
# and if a metadata service hangs, each try takes 2 s.
_OPEN_AGAIN_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 8.0
_LONGEST_TEXT: Final = 300  # an error of botocore may quote a whole page

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential  # these do not exist at run time

_ERRORS: Final[tuple[type[Exception], ...]] = (
    FileNotFoundError,
    BaseError,
    BotoCoreError,
    ClientError,
    HTTPClientError,
)
_Client: TypeAlias = Any  # botocore ships no types


class _Connection(NamedTuple):
    session: Session
    client: _Client
    anonymous: bool
    requester_pays: bool


class S3Reader:
    """Reads objects through obstore, with the endpoint, region and credentials that `fiqa.s3` finds.

    obstore takes 0.14 ms of processor time for an object of 25 KB, boto3 0.92 ms.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float, patience_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._store = lru_cache(OPEN_STORES)(self._open)
        self._opening = Lock()  # a session must not make two clients at once
        self._open_connection: _Connection | None = None
        self._failure: str = ""
        self._failed_at = 0.0
        self._not_renewed = ""
        self._regions: dict[str, str] = {}  # of the buckets whose stores are open

    def read(self, bucket: str, key: str, version: str | None = None) -> FileBytes:
        """Read one object, or one version of it.

        Raises:
            NotFound, AccessDenied, TooLarge, FetchTimeout, FetchFailed, SourceUnavailable: see Fetcher.fetch.
        """
        if not BUCKET_NAME.fullmatch(bucket):
            advice = advice_for(f"s3://{bucket}/{key}")
            raise NotFound(f"{bucket!r} cannot be the name of a bucket{advice and f': {advice}'}")
        if not key:
            raise NotFound("the URI names a bucket and no object in it")
        deadline = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        renewed = followed = False
        while True:
            connection = self._connect(bucket)
            try:
                return self._read(connection, bucket, key, version)
            except Answer as answer:
                if answer.throttles and time.monotonic() + pause_s < deadline:
                    # Full jitter: processes that were throttled together must not try again together.
                    time.sleep(random.uniform(0, pause_s))  # noqa: S311  not a secret
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                elif answer.code in STALE_CREDENTIALS and not renewed:
                    renewed = True
                    self._close(connection)
                elif answer.code in OTHER_REGION and not followed and self._follow(connection, bucket, answer.region):
                    followed = True
                else:
                    host = self._host(connection)
                    raise answer.failure(bucket, host, self._timeout_s) from None

    def _connect(self, bucket: str) -> _Connection:
        """Return the open connection, or open it. If that fails, raise the reason, and try again after a second."""
        connection = self._open_connection
        if connection:
            return connection
        with self._opening:
            if self._open_connection:
                return self._open_connection
            if self._failure and time.monotonic() - self._failed_at < _OPEN_AGAIN_S:
                raise SourceUnavailable(f"s3://{bucket}", self._failure)
            try:
                self._open_connection = self._make_connection()
            except (SettingsError, BotoCoreError, OSError, ValueError) as error:
                self._failure, self._failed_at = " ".join(str(error).split()), time.monotonic()
                raise SourceUnavailable(f"s3://{bucket}", self._failure) from None
            self._failure = ""
            return self._open_connection

    def _make_connection(self) -> _Connection:
        # A new session for each try: a session of botocore keeps the profile and the credentials that it has read.
        session = s3_session()
        settings = Settings.load()
        client = s3_client(
            for_images=True,
            session=session,
            connect_timeout_s=self._timeout_s,
            read_timeout_s=self._timeout_s,
            tries=TRIES,
        )
        if not settings.s3_anonymous and session.get_credentials() is None:
            raise SettingsError("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
        return _Connection(session, client, settings.s3_anonymous, settings.s3_requester_pays)

    def _close(self, stale: _Connection) -> None:
        """Close a connection, unless another thread has done so.

        The next request reads settings and credentials again.
        """
        with self._opening:
            if self._open_connection is stale:
                self._open_connection = None
                self._regions.clear()
                self._store.cache_clear()

    def _follow(self, connection: _Connection, bucket: str, region: str | None) -> bool:
        """Find the region of a bucket. Return whether it differs from the region of the failed request."""
        with self._opening:  # other threads wait, and then see the new region
            if self._regions.get(bucket) in {None, region}:
                try:
                    follow_bucket(connection.client, bucket)
                    self._regions[bucket] = bucket_address(connection.client, bucket).region
                except BotoCoreError:
                    return False
                self._store.cache_clear()
            return self._regions[bucket] != region

    def _open(self, connection: _Connection, bucket: str) -> tuple[S3Store, str]:
        """Return a new store of a bucket, and the region that it signs for."""
        with self._opening:
            address = bucket_address(connection.client, bucket)
            self._regions[bucket] = address.region
            authorities = ca_bundle(connection.session, connection.client)
        timeout = timedelta(seconds=self._timeout_s)
        # reqwest, the HTTP client of obstore, would read the proxy from the environment by other rules than botocore.
        # If botocore uses no proxy, reqwest gets one that is excluded for this host, so it uses none.
        proxy = proxy_of(address.url)
        options: ClientConfig = {
            "timeout": timeout,
            "connect_timeout": timeout,
        }
        if proxy:
            options["proxy_url"] = proxy
        elif any(name.lower().endswith("_proxy") for name in os.environ):
            options |= {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": str(urlsplit(address.url).hostname)}
        if urlsplit(address.url).scheme == "http":
            options["allow_http"] = True
        elif authorities:
            options["root_certificate"] = authorities.read_bytes()
        url = address.url if address.in_host else address.url.removesuffix(f"/{bucket}")
        signing: dict[str, Any] = (
            {"skip_signature": True}
            if connection.anonymous
            else {"skip_signature": False, "credential_provider": self._provider(connection.session)}
        )
        store = S3Store(
            bucket,
            # All options are passed: obstore would read missing ones from the environment, by other rules than
            # botocore.
            endpoint=url,
            aws_endpoint_url_s3=url,
            region=address.region,
            virtual_hosted_style_request=address.in_host,
            request_payer=connection.requester_pays,
            client_options=options,
            retry_config={"max_retries": TRIES - 1, "retry_timeout": 2 * timeout},
            **signing,
        )
        return store, address.region

    def _provider(self, session: Session) -> Callable[[], S3Credential]:
        def provide() -> S3Credential:
            expires_at = datetime.now(UTC) + _CREDENTIALS_TTL
            try:
                frozen = _frozen(session)
            except Answer as answer:  # obstore replaces it by another error
                self._not_renewed = answer.text
                raise
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token or None,
                "expires_at": expires_at,
            }

        return provide

    def _read(self, connection: _Connection, bucket: str, key: str, version: str | None) -> FileBytes:
        region = None
        try:
            if key.startswith("/") or key.endswith("/"):  # obstore would strip these slashes and read another object
                return self._read_with_botocore(connection, bucket, key, version)
            store, region = self._store(connection, bucket)
            try:
                return self._read_with_obstore(store, key, version)
            except ValueError:  # obstore refuses keys with an empty segment, '.', '..' or a control character
                return self._read_with_botocore(connection, bucket, key, version)
        except _ERRORS as error:
            not_renewed, self._not_renewed = self._not_renewed, ""
            if not_renewed:
                raise Answer(0, "Credentials", not_renewed) from None
            answer = answer_of(error)
            answer.region = region
            raise answer from None

    def _read_with_obstore(self, store: S3Store, key: str, version: str | None) -> FileBytes:
        result = store.get(key, options={"version": version} if version else None)
        size = result.meta["size"]
        check_size(size, self._max_bytes)
        if size < LARGE_BYTES:
            return bytes(result.bytes())
        buffer = large_buffer(size)
        for part in result.stream(_PART_BYTES):
            buffer.write(part)
        return buffer

    def _read_with_botocore(self, connection: _Connection, bucket: str, key: str, version: str | None) -> bytes:
        if not connection.anonymous:
            _frozen(connection.session)
        options = {"VersionId": version} if version else {}
        answer = connection.client.get_object(Bucket=bucket, Key=key, **options)
        with closing(answer["Body"]) as body:
            check_size(answer["ContentLength"], self._max_bytes)
            return bytes(body.read())

    def _host(self, connection: _Connection) -> str:
        endpoint = connection.client.meta.endpoint_url
        proxy = proxy_of(endpoint)
        through = f" through the proxy {urlsplit(proxy).hostname}" if proxy else ""
        return f"{urlsplit(endpoint).hostname}{through}"


def _frozen(session: Session) -> Any:
    """Return the credentials. If they are about to expire, they are renewed.

    Raises:
        Answer: they cannot be renewed.
    """
    try:
        return session.get_credentials().get_frozen_credentials()
    except Exception as error:  # noqa: BLE001  files, commands and services may fail in any way
        raise Answer(0, "Credentials", " ".join(str(error).split())[:_LONGEST_TEXT]) from None
