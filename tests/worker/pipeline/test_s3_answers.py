"""An answer of S3 becomes an error of the image, or of the worker."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fiqa.errors import FiqaError, SourceError
from fiqa.s3 import s3_client
from fiqa.sources.listing import list_objects
from fiqa_worker.errors import FetchFailed, ImageFailure, NotFound, SourceUnavailable
from fiqa_worker.pipeline.s3_reader import TRIES
from tests.producer.s3_settings import clear
from tests.worker.pipeline.fetching import BODY, ODD_KEY, PLAIN_KEY, fetcher
from tests.worker.pipeline.test_bad_servers import Connection, own_certificate, serving

BOTH_WAYS = pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])


def answering(status: str, code: str) -> Callable[[Connection], None]:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode() if code else b""
    return lambda connection: connection.answer(status, body)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("status", "code", "failure", "text"),
    [
        (
            "403 Forbidden",
            "InvalidObjectState",
            FetchFailed,
            r"^403 InvalidObjectState: the object is archived \(Glacier\): restore it first, then retry the job$",
        ),
        (
            "400 Bad Request",
            "KMS.DisabledException",
            FetchFailed,
            r"^its encryption key cannot be used: KMS\.DisabledException$",
        ),
        ("400 Bad Request", "Odd.Code", FetchFailed, r"^the S3 server answers 400 Odd\.Code$"),
        ("405 Method Not Allowed", "MethodNotAllowed", NotFound, "a delete marker: the object was deleted"),
        ("405 Method Not Allowed", "", NotFound, "a delete marker: the object was deleted"),
        ("404 Not Found", "NoSuchVersion", NotFound, "no such object"),
    ],
)
def test_an_answer_about_the_image_is_its_result(
    *, key: str, status: str, code: str, failure: type[ImageFailure], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering(status, code), monkeypatch) as server, pytest.raises(failure, match=text):
        fetcher(patience_s=30).fetch(f"s3://photos/{key}", "version")
    assert len(server.requests) == 1


@BOTH_WAYS
@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        ("400 Bad Request", "ExpiredToken", "^400 ExpiredToken: the credentials have expired: renew them$"),
        ("400 Bad Request", "InvalidToken", "the session token is wrong: check AWS_SESSION_TOKEN$"),
        ("403 Forbidden", "InvalidAccessKeyId", "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID$"),
        ("403 Forbidden", "SignatureDoesNotMatch", "the secret key is wrong: check AWS_SECRET_ACCESS_KEY$"),
        ("403 Forbidden", "RequestTimeTooSkewed", "the clock of this machine is wrong: set it$"),
        ("301 Moved Permanently", "PermanentRedirect", "another region: set AWS_REGION to that one$"),
        ("307 Temporary Redirect", "TemporaryRedirect", "another region: set AWS_REGION to that one$"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", "another region: set AWS_REGION to that one$"),
        ("400 Bad Request", "IllegalLocationConstraintException", "another region: set AWS_REGION to that one$"),
        ("503 Service Unavailable", "SlowDown", "^S3 throttles requests: 503 SlowDown$"),
        ("503 Service Unavailable", "", "^S3 throttles requests: 503$"),
        ("429 Too Many Requests", "", "^S3 throttles requests: 429$"),
        ("400 Bad Request", "RequestLimitExceeded", "^S3 throttles requests: 400 RequestLimitExceeded$"),
    ],
)
def test_an_answer_about_the_worker_fails_no_image(
    key: str, status: str, code: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering(status, code), monkeypatch), pytest.raises(SourceUnavailable) as caught:
        fetcher().fetch(f"s3://photos/{key}")
    assert caught.value.root == "s3://photos"
    assert re.search(text, caught.value.reason)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("status", "code"),
    [("503 Slow Down", "SlowDown"), ("429 Too Many Requests", ""), ("400 Bad Request", "RequestLimitExceeded")],
)
def test_an_image_is_tried_again_for_as_long_as_s3_throttles(
    key: str, status: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = 2 * TRIES

    def answer(connection: Connection) -> None:
        refuse = len(connection.server.requests) <= refusals
        (answering(status, code) if refuse else lambda connection: connection.answer("200 OK", BODY))(connection)

    with serving(answer, monkeypatch) as server:
        assert fetcher(patience_s=60).fetch(f"s3://photos/{key}") == BODY
    assert len(server.requests) == refusals + 1


@BOTH_WAYS
@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "is not trusted: set AWS_CA_BUNDLE to a file with its authority"),
        ("localhost", "is for another name than that in AWS_ENDPOINT_URL"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_reported_to_clients_and_workers(
    key: str, host: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, tls = own_certificate(tmp_path)
    clear(monkeypatch)
    with serving(lambda connection: connection.answer("200 OK", BODY), monkeypatch, tls) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{server.netloc.replace('127.0.0.1', host)}")
        if host == "localhost":
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        with pytest.raises(SourceUnavailable, match=text):
            fetcher().fetch(f"s3://photos/{key}")
        with pytest.raises(SourceError, match=text):
            list_objects("photos", "")


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_file_of_authorities_counts_for_clients_and_workers(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, tls = own_certificate(tmp_path)
    clear(monkeypatch)
    with serving(lambda connection: connection.answer("200 OK", BODY), monkeypatch, tls) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{server.netloc}")
        monkeypatch.setenv(variable, str(certificate))
        for key in ("k", "a//b"):
            assert fetcher().fetch(f"s3://photos/{key}") == BODY
        with s3_client().get_object(Bucket="photos", Key="k")["Body"] as body:
            assert body.read() == BODY


@BOTH_WAYS
def test_https_to_a_server_without_tls_is_reported(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "does not speak TLS there: write http:// in AWS_ENDPOINT_URL"
    clear(monkeypatch)
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as plain:
        threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{plain.server_port}")
        with pytest.raises(SourceUnavailable, match=text):
            fetcher().fetch(f"s3://photos/{key}")
        with pytest.raises(SourceError, match=text):
            list_objects("photos", "")
        plain.shutdown()


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        ("403 Forbidden", "RequestTimeTooSkewed", "the clock of this machine is wrong: set it$"),
        ("400 Bad Request", "ExpiredToken", "the credentials have expired: renew them$"),
        ("503 Slow Down", "SlowDown", "S3 throttles requests: SlowDown: try again later"),
        ("404 Not Found", "NoSuchBucket", "no such bucket: check its name, or make it$"),
        ("400 Bad Request", "KMS.DisabledException", r"cannot be used: KMS\.DisabledException$"),
    ],
)
def test_a_client_reports_the_same_in_one_line(
    status: str, code: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering(status, code), monkeypatch), pytest.raises(FiqaError, match=text) as caught:
        list_objects("photos", "")
    assert "\n" not in str(caught.value)
