"""The bytes of a model file, read over https or from an s3:// mirror."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    UnknownHandler,
)

from fiqa.errors import SettingsError
from fiqa.s3 import s3_client
from fiqa.s3_errors import describe, is_passing, s3_errors
from fiqa.text import count
from fiqa_worker.errors import ModelError, ModelsUnavailable

_BLOCK: Final = 64 * 1024


class DownloadFailed(Exception):  # noqa: N818  an outcome of one address, not an error of the program
    """One address did not give the file. Another address may. The message gives the reason, without the address."""


def over_https(url: str, *, max_bytes: int, timeout_s: float, progress: Callable[[int], None] | None = None) -> bytes:
    """Download over https only, also after a redirect.

    Args:
        url: the address.
        max_bytes: the size limit. A longer answer is not read to its end.
        timeout_s: the limit for each wait on the network, and for the whole download.
        progress: called with the number of bytes read so far.

    Raises:
        DownloadFailed: the address is not https, does not answer in time, refuses, or sends too much.
    """
    deadline = time.monotonic() + timeout_s
    data = bytearray()
    try:
        with _https_only().open(url, timeout=timeout_s) as response:
            while block := response.read1(_BLOCK):
                data += block
                if progress:
                    progress(len(data))
                if len(data) > max_bytes:
                    raise DownloadFailed(f"sends more than the {count(max_bytes, 'byte')} of the pinned file")
                if time.monotonic() > deadline:
                    raise DownloadFailed(f"took longer than {timeout_s:g} s")
    except (OSError, HTTPException) as error:  # refusals, TLS failures and time-outs are OSErrors
        raise DownloadFailed(_reason(error)) from None
    return bytes(data)


def from_mirror(models_dir: str, file: str, *, max_bytes: int) -> bytes | None:
    """Read one file of an s3://bucket/prefix mirror, or return None if the mirror does not have it.

    Raises:
        ModelsUnavailable: the store does not answer, or the credentials are not there yet.
        ModelError: the store refuses.
        SettingsError: the settings of S3 are wrong.
    """
    bucket, _, prefix = models_dir.removeprefix("s3://").partition("/")
    key = f"{prefix.strip('/')}/{file}".lstrip("/")
    try:
        client = s3_client()
    except SettingsError as error:
        if isinstance(error.__cause__, ValueError):  # a wrong URL or certificate: waiting does not help
            raise
        raise ModelsUnavailable(f"cannot read s3://{bucket}/{key}: {error}") from None
    try:
        with client.get_object(Bucket=bucket, Key=key)["Body"] as body:
            return bytes(body.read(max_bytes + 1))
    except s3_errors() as error:
        code, reason = describe(error)
        if code == "NoSuchKey":
            return None
        kind = ModelsUnavailable if is_passing(error) else ModelError
        raise kind(f"cannot read s3://{bucket}/{key}: {reason}") from None


def _reason(error: Exception) -> str:
    """Return the text of a network error, without urllib's `<urlopen error ...>` and without the error's number."""
    reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__


def _https_only() -> OpenerDirector:
    """Make an opener that has no handler for http, ftp, file and data."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
