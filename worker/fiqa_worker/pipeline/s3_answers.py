"""Turns the errors of obstore and botocore into errors of the worker."""

from __future__ import annotations

import re
from typing import Final

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    TokenRetrievalError,
)

from fiqa.errors import FiqaError
from fiqa.s3_errors import OTHER_REGION, STALE_CREDENTIALS, THROTTLED, in_words, untrusted
from fiqa_worker.errors import AccessDenied, FetchFailed, FetchTimeout, ImageFailure, NotFound, SourceUnavailable

# An error of botocore is recognized by its class, one of obstore by its text. Only the matched part of obstore's text
# is shown in a message.
_OF_BOTOCORE: Final = (
    ((ConnectTimeoutError, ReadTimeoutError), "Timeout"),
    ((SSLError,), "TLS"),
    ((EndpointConnectionError, ProxyConnectionError), "Connect"),
    ((NoCredentialsError,), "NoCredentialsError"),
    ((CredentialRetrievalError, TokenRetrievalError), "Credentials"),
)
_OF_OBSTORE: Final = (
    (re.compile(r"Invalid(?:Certificate|Message)\(\s*(\w+)"), "TLS"),
    (re.compile(r"(kind: Timeout)"), "Timeout"),
    (re.compile(r"(kind: Connect)"), "Connect"),
    (re.compile(r"(redirect without LOCATION)"), "PermanentRedirect"),
)
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([\w.]+)</Code>")
_THROTTLING_STATUS: Final = frozenset({429, 503, 509})


class Answer(Exception):  # noqa: N818  an outcome; S3Reader may try again
    """The outcome of a request that returned no object.

    Attributes:
        status: the HTTP status. 0 if there was no answer.
        code: the code of the server, or one of Timeout, Connect, TLS and Credentials. Empty if there is none.
        text: details for the message.
        region: the region that the request was signed for. None if it is not known.
    """

    def __init__(self, status: int, code: str, text: str = "") -> None:
        super().__init__(status, code, text)
        self.status = status
        self.code = code
        self.text = text
        self.region: str | None = None

    @property
    def throttles(self) -> bool:
        return self.status in _THROTTLING_STATUS or self.code in THROTTLED

    def failure(self, bucket: str, host: str, timeout_s: float) -> FiqaError:
        """Return the error for this outcome: an error of the image, or of the worker.

        Args:
            bucket: the bucket that was read.
            host: the host of the server.
            timeout_s: the time limit of one try.
        """
        # If an answer has no body, botocore uses the status as its code.
        codes = " ".join(dict.fromkeys(str(part) for part in (self.status, self.code) if part))
        reason = self._fault_of_the_worker(codes, host)
        if reason:
            return SourceUnavailable(f"s3://{bucket}", reason)
        failures: dict[int | str, ImageFailure] = {
            "NoSuchBucket": NotFound(f"no such bucket: {bucket}"),
            "Timeout": FetchTimeout(f"no complete answer from the S3 server within {timeout_s:g} s per try"),
            "Connect": FetchFailed(f"no connection to the S3 server at {host}"),
            "InvalidObjectState": FetchFailed(f"{codes}: {in_words('InvalidObjectState')}, then retry the job"),
            0: FetchFailed("no complete answer from the S3 server"),
            401: AccessDenied(f"the S3 server refuses access: {codes}"),
            403: AccessDenied(f"the S3 server refuses access: {codes}"),
            404: NotFound("no such object in the bucket"),
            405: NotFound(in_words("405")),
        }
        if self.code.startswith("KMS."):
            return FetchFailed(in_words(self.code))
        return failures.get(self.code) or failures.get(self.status) or FetchFailed(f"the S3 server answers {codes}")

    def _fault_of_the_worker(self, codes: str, host: str) -> str:
        if self.throttles:
            return f"S3 throttles requests: {codes}"
        if self.code in OTHER_REGION | STALE_CREDENTIALS:
            return f"{codes}: {in_words(self.code)}"
        return {
            "RequestTimeTooSkewed": f"{codes}: {in_words(self.code)}",
            "TLS": f"{untrusted(self.text)} ({host}: {self.text})",
            "Credentials": f"the S3 credentials could not be renewed: {self.text}",
        }.get(self.code, "")


def answer_of(error: Exception) -> Answer:
    """Return the outcome that an error of obstore or botocore reports."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return Answer(status, str(error.response.get("Error", {}).get("Code", "")))
    text = str(error)
    status_of = _STATUS.search(text)
    if status_of:
        code_of = _CODE.search(text)
        return Answer(int(status_of[1]), code_of[1] if code_of else "")
    for kinds, code in _OF_BOTOCORE:
        if isinstance(error, kinds):
            return Answer(0, code, " ".join(text.split()))
    for pattern, code in _OF_OBSTORE:
        found = pattern.search(text)
        if found:
            return Answer(0, code, found[1])
    return Answer(0, "")
