"""S3: clients with boto3's own settings, the errors of the server in words, and what can be the name of a bucket.

boto3 is loaded when the first client is made. It takes 0.1 s, and a producer whose storage is Redis or a folder does
not need it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fiqa.errors import SettingsError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader
    from botocore.session import Session

# Wider than Amazon's rules: other servers, and old buckets of Amazon, allow capitals, underscores and 255 characters.
BUCKET_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}")

_CHECK_ACCESS: Final = "access denied: check the bucket's policy and AWS_PROFILE or AWS_ACCESS_KEY_ID"
_IT_CHANGED: Final = "it changed while it was read: begin again"
# By the server's code. It is the HTTP status if the answer has no body, and the name of boto3's error if there is no
# answer at all.
_HINTS: Final = {
    "NoSuchBucket": "no such bucket: make it",
    "AccessDenied": _CHECK_ACCESS,
    "InvalidAccessKeyId": "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "NoSuchKey": "no such object: was it deleted?",
    "404": "no such object or bucket",
    "403": _CHECK_ACCESS,
    "PreconditionFailed": _IT_CHANGED,
    "412": _IT_CHANGED,
    "NoCredentialsError": "no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}


class S3Problem(NamedTuple):
    """What an error of S3 means.

    Attributes:
        code: the server's, such as NoSuchKey, or its HTTP status if the answer has no body. Empty if the server did
            not answer.
        text: one line for the person who reads it, with a hint about what to do.
    """

    code: str
    text: str


def describe(error: BaseException | None) -> S3Problem:
    """Put an error of boto3 into words.

    Args:
        error: one of `s3_errors()`. For any other, and for None, the code is empty.
    """
    response: Any = getattr(error, "response", None) or {}  # None if the connection was cut
    code = str(response.get("Error", {}).get("Code", ""))
    if code:
        return S3Problem(code, in_words(code))
    return S3Problem("", _HINTS.get(type(error).__name__, " ".join(str(error).split())))


def in_words(code: str) -> str:
    """Return the text for a code of the server."""
    return _HINTS.get(code, f"the store answered {code}")


def s3_errors() -> tuple[type[Exception], ...]:
    """Return the types of error that the calls of a client raise."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # noqa: PLC0415  loaded when used

    return BotoCoreError, ClientError, HTTPClientError


def s3_client() -> BaseClient:
    """Make an S3 client with boto3's own settings and credentials. Threads may share it.

    Raises:
        SettingsError: boto3's settings are wrong.
    """
    import boto3  # noqa: PLC0415  loaded when used
    from botocore.config import Config  # noqa: PLC0415  loaded when used
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  loaded when used

    config = Config(
        connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=32
    )
    try:
        return boto3.Session(botocore_session=s3_session()).client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"S3: {error}: check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from error


def s3_session() -> Session:
    """Make a botocore session for one client: threads cannot make clients of a shared session.

    All sessions share botocore's description of S3, which takes 12 MB.
    """
    from botocore.session import get_session  # noqa: PLC0415  loaded when used

    session = get_session()
    loader = _loader()
    # Each boto3.Session adds its own search path to the shared loader. Keep one of each.
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)
    session.register_component("data_loader", loader)
    return session


@cache
def _loader() -> Loader:
    from botocore.session import get_session  # noqa: PLC0415  loaded when used

    loader: Loader = get_session().get_component("data_loader")
    return loader
