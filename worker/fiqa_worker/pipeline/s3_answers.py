"""What S3 answered, or that it did not: from the errors of obstore and botocore to an error of the worker."""

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

# By botocore's error, and by the text of obstore's: only what is matched there goes into a message.
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


class Answer(Exception):  # noqa: N818  an outcome, which the reader may still turn into a success
    """A request that gave no object.

    Attributes:
        status: of HTTP; 0 without an answer.
        code: the server's, or a name of ours: Timeout, Connect, TLS, Credentials. Empty if there is none.
        text: what else is to be said.
        region: that the request was signed for; None if that is not known.
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
        """Return the error for it: of the image, or of the worker.

        Args:
            bucket: that was read.
            host: of the server.
            timeout_s: of one try.
        """
        # botocore's code of an answer without a body is the status.
        said = " ".join(dict.fromkeys(str(part) for part in (self.status, self.code) if part))
        reason = self._fault_of_the_worker(said, host)
        if reason:
            return SourceUnavailable(f"s3://{bucket}", reason)
        failures: dict[int | str, ImageFailure] = {
            "NoSuchBucket": NotFound(f"no such bucket: {bucket}"),
            "Timeout": FetchTimeout(f"no whole answer from the S3 server within {timeout_s:g} s a try"),
            "Connect": FetchFailed(f"no connection to the S3 server at {host}"),
            "InvalidObjectState": FetchFailed(f"{said}: {in_words('InvalidObjectState')}, then retry the job"),
            0: FetchFailed("no whole answer from the S3 server"),
            401: AccessDenied(f"the S3 server refuses access: {said}"),
            403: AccessDenied(f"the S3 server refuses access: {said}"),
            404: NotFound("no such object in the bucket"),
            405: NotFound(in_words("405")),
        }
        if self.code.startswith("KMS."):
            return FetchFailed(in_words(self.code))
        return failures.get(self.code) or failures.get(self.status) or FetchFailed(f"the S3 server answers {said}")

    def _fault_of_the_worker(self, said: str, host: str) -> str:
        if self.throttles:
            return f"S3 throttles requests: {said}"
        if self.code in OTHER_REGION | STALE_CREDENTIALS:
            return f"{said}: {in_words(self.code)}"
        return {
            "RequestTimeTooSkewed": f"{said}: {in_words(self.code)}",
            "TLS": f"{untrusted(self.text)} ({host}: {self.text})",
            "Credentials": f"the S3 credentials could not be renewed: {self.text}",
        }.get(self.code, "")


def answer_of(error: Exception) -> Answer:
    """Return the answer behind an error of obstore or botocore."""
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
