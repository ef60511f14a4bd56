"""Bytes of a model file from where it is published: over https, or out of an s3:// mirror."""

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

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from fiqa_worker.errors import ModelError

_BLOCK: Final = 64 * 1024


class DownloadFailed(Exception):  # noqa: N818  one address failed; another may do
    """One address did not give the bytes; the message says why, without the address."""


def over_https(url: str, *, max_bytes: int, timeout_s: float, progress: Callable[[int], None] | None = None) -> bytes:
    """Download over https, and over nothing else, wherever a redirect leads.

    Args:
        url: the address.
        max_bytes: more than that is not read.
        timeout_s: for each wait on the network, and for the whole.
        progress: called with the bytes read so far.

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
                    raise DownloadFailed(f"sends more than the {max_bytes} bytes of the pinned file")
                if time.monotonic() > deadline:
                    raise DownloadFailed(f"is not through after {timeout_s:g} s")
    except (OSError, HTTPException) as error:  # refusals, TLS failures and time-outs are OSErrors
        raise DownloadFailed(_in_plain_words(error)) from None
    return bytes(data)


def from_mirror(models_dir: str, file: str, *, max_bytes: int) -> bytes | None:
    """Read one file of an s3://bucket/prefix mirror, with boto3's own settings; None where it is missing.

    Raises:
        ModelError: the store refuses or does not answer.
    """
    bucket, _, prefix = models_dir.removeprefix("s3://").partition("/")
    key = f"{prefix.strip('/')}/{file}".lstrip("/")
    try:
        with boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"] as body:
            return bytes(body.read(max_bytes + 1))
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise ModelError(f"s3://{bucket}/{key}: {error}") from None
    except BotoCoreError as error:
        raise ModelError(f"s3://{bucket}/{key}: {error}") from None


def _in_plain_words(error: Exception) -> str:
    """What the network said, without urllib's <urlopen error ...> around it and without an error's number."""
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
