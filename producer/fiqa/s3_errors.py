"""Readable text for the errors of S3."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_CHECK_ACCESS: Final = "access denied: check the bucket's policy and AWS_PROFILE or AWS_ACCESS_KEY_ID"
_IT_CHANGED: Final = "it changed while it was read: begin again"
_NO_CREDENTIALS: Final = "no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_EXPIRED: Final = "the credentials have expired: renew them"
_OTHER_REGION: Final = "the bucket is in another region: set AWS_REGION to that one"
_CLOCK: Final = "the clock of this machine is wrong: set it"

# What a store answers to too many requests, whatever the HTTP status.
THROTTLED: Final = frozenset(
    {
        "SlowDown",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequests",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "ServiceUnavailable",
        "503",
        "429",
        "509",
    }
)
# Errors that may go away with new credentials: those that this process holds have expired, or were replaced.
STALE_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
        "RequestExpired",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "NoCredentialsError",
        "CredentialRetrievalError",
    }
)
OTHER_REGION: Final = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "301",
        "307",
    }
)

# A key is the server's error code, or the HTTP status if the answer has no body, or the name of botocore's exception
# if there is no answer at all.
_HINTS: Final = {
    "NoSuchBucket": "no such bucket: check its name, or make it",
    "AccessDenied": _CHECK_ACCESS,
    "InvalidAccessKeyId": "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "NoSuchKey": "no such object: was it deleted?",
    "NoSuchVersion": "no such version of the object",
    "404": "no such object or bucket",
    "403": _CHECK_ACCESS,
    "PreconditionFailed": _IT_CHANGED,
    "412": _IT_CHANGED,
    "405": "this version is a delete marker: the object was deleted",
    "MethodNotAllowed": "this version is a delete marker: the object was deleted",
    "InvalidObjectState": "the object is archived (Glacier): restore it first",
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "the session token is wrong: check AWS_SESSION_TOKEN",
    "NoCredentialsError": _NO_CREDENTIALS,
}
# What to do about an error whose text says only what happened, by the name of botocore's exception.
_REMEDIES: Final = {
    "EndpointConnectionError": "check AWS_ENDPOINT_URL and the network",
    "ConnectTimeoutError": "check AWS_ENDPOINT_URL and the network",
    "ReadTimeoutError": "the store is too slow, or hangs: look into its log",
    "ConnectionClosedError": "the store cut the connection: look into its log",
    "ProxyConnectionError": "check HTTPS_PROXY and NO_PROXY",
}


class S3Problem(NamedTuple):
    """A readable form of an error of S3.

    Attributes:
        code: the server's, such as NoSuchKey, or its HTTP status if the answer has no body. Empty if the server did
            not answer.
        text: one line for the person who reads it, with a hint about what to do.
    """

    code: str
    text: str


def describe(error: BaseException | None) -> S3Problem:
    """Turn an error of botocore into a code and a readable line.

    Args:
        error: one of `s3_errors()`. For any other, and for None, the code is empty.
    """
    response: Any = getattr(error, "response", None) or {}  # None if the connection was cut
    code = str(response.get("Error", {}).get("Code", ""))
    if code:
        return S3Problem(code, in_words(code))
    text = " ".join(str(error).split())
    name = type(error).__name__
    if name == "SSLError":
        return S3Problem("", f"{text}: {untrusted(text)}")
    if name in _REMEDIES:
        return S3Problem("", f"{text}: {_REMEDIES[name]}")
    return S3Problem("", _HINTS.get(name, text))


def in_words(code: str) -> str:
    """Return the text for a code of the server."""
    if code in _HINTS:
        return _HINTS[code]
    if code in THROTTLED:
        return f"S3 throttles requests: {code}: try again later, or send fewer requests at once"
    if code in OTHER_REGION:
        return _OTHER_REGION
    if code.startswith("KMS."):
        return f"its encryption key cannot be used: {code}"
    return f"the store answered {code}"


def untrusted(text: str) -> str:
    """Return what to do about an error of TLS, from its text."""
    lower = text.lower()
    if any(words in lower for words in ("wrong_version_number", "wrong version number", "invalidcontenttype")):
        return "the server does not speak TLS there: write http:// in AWS_ENDPOINT_URL"
    if "expired" in lower:
        return "the certificate of the server has expired, or the clock of this machine is wrong"
    if any(words in lower for words in ("hostname mismatch", "address mismatch", "doesn't match", "notvalidforname")):
        return "the certificate of the server is for another name than that in AWS_ENDPOINT_URL"
    return "the certificate of the server is not trusted: set AWS_CA_BUNDLE to a file with its authority"


def stale_credentials(error: BaseException | None) -> bool:
    """Return whether a new client, which reads the credentials again, may succeed."""
    return bool({describe(error).code, type(error).__name__} & STALE_CREDENTIALS)


def is_passing(error: BaseException) -> bool:
    """Return whether an error of `s3_errors()` may end by itself: no answer, throttling, credentials that come late."""
    response: Any = getattr(error, "response", None) or {}
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = describe(error).code
    return not code or status >= 500 or code in THROTTLED or stale_credentials(error)  # noqa: PLR2004  a server's error


def s3_errors() -> tuple[type[Exception], ...]:
    """Return the types of error that the calls of a client raise."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # noqa: PLC0415  loaded when used

    # OSError and RuntimeError come from credentials: their file is gone, or new credentials have already expired.
    return BotoCoreError, ClientError, HTTPClientError, OSError, RuntimeError
