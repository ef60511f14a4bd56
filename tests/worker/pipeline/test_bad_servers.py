"""S3 servers that answer badly. Each handler gets a request and writes to the connection, which is then closed."""

from __future__ import annotations

import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fiqa.contract import RETRYABLE
from fiqa_worker.errors import (
    FetchFailed,
    FetchTimeout,
    ImageFailure,
    SourceUnavailable,
    TooLarge,
)
from fiqa_worker.pipeline.s3_reader import TRIES
from tests.worker.pipeline.fetching import BODY, LARGE_BODY, ODD_KEY, PLAIN_KEY, fetcher

Handler: TypeAlias = Callable[["Connection"], None]


class Connection(socketserver.StreamRequestHandler):
    server: BadServer

    def handle(self) -> None:
        self.request_line = self.rfile.readline().decode()
        if not self.request_line:
            return  # the client closed the connection without a request
        headers = takewhile(b"\r\n".__ne__, self.rfile)  # ends with the connection, too
        ranges = [line for line in headers if line.lower().startswith(b"range: bytes=")]
        self.first = int(re.findall(rb"\d+", ranges[0])[0]) if ranges else 0
        self.server.requests.append(self.request_line)
        self.server.handler(self)

    def answer(self, status: str, body: bytes, length: int | None = None) -> None:
        head = f"HTTP/1.1 {status}\r\nETag: 1\r\nConnection: close\r\nContent-Length: {length or len(body)}\r\n"
        end = self.first + (length or len(body))
        head += f"Content-Range: bytes {self.first}-{end - 1}/{end}\r\n" if status.startswith("206") else ""
        self.wfile.write(f"{head}\r\n".encode() + body)

    def answer_with(self, body: bytes, length: int) -> None:
        """Answer with an object of `length` bytes from the requested byte on. The body may be shorter."""
        self.answer("206 Partial Content" if self.first else "200 OK", body, length - self.first)

    def stall(self) -> None:
        self.server.over.wait()


class BadServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True  # a client may keep a connection open without a request

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.handler = handler
        self.requests: list[str] = []
        self.over = threading.Event()
        self.netloc = f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(
    handler: Handler, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext | None = None
) -> Iterator[BadServer]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    with BadServer(handler, tls) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{'https' if tls else 'http'}://{server.netloc}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()


def slow_down(connection: Connection) -> None:
    connection.answer("503 Service Unavailable", b"<Error><Code>SlowDown</Code></Error>")


def wrong_time(connection: Connection) -> None:
    connection.answer("403 Forbidden", b"<Error><Code>RequestTimeTooSkewed</Code></Error>")


def cut_off(connection: Connection) -> None:
    connection.answer_with(b"x", length=100)


def stall_before_the_answer(connection: Connection) -> None:
    connection.stall()


def stall_in_the_body(connection: Connection) -> None:
    connection.answer_with(b"x", length=100)
    connection.stall()


def cut_off_a_large_body(connection: Connection) -> None:
    connection.answer_with(LARGE_BODY[connection.first : -1], length=len(LARGE_BODY))


def stall_in_a_large_body(connection: Connection) -> None:
    connection.answer_with(LARGE_BODY[connection.first : -1], length=len(LARGE_BODY))
    connection.stall()


def no_http(connection: Connection) -> None:
    connection.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
@pytest.mark.parametrize(
    ("handler", "failure", "message"),
    [
        (cut_off, FetchFailed, "no complete answer"),
        (stall_before_the_answer, FetchTimeout, r"within 0\.3 s"),
        (stall_in_the_body, FetchTimeout, r"within 0\.3 s"),
        (cut_off_a_large_body, FetchFailed, "no complete answer"),
        (stall_in_a_large_body, FetchTimeout, r"within 0\.3 s"),
        (no_http, FetchFailed, "no complete answer"),
    ],
)
def test_the_error_of_a_bad_answer_is_one_sentence_without_secrets(
    key: str, handler: Handler, failure: type[ImageFailure], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeout_s = 0.3 if failure is FetchTimeout else 10.0
    with serving(handler, monkeypatch) as server, pytest.raises(failure, match=message) as caught:
        fetcher(timeout_s=timeout_s).fetch(f"s3://photos/{key}")

    assert len(server.requests) <= TRIES
    assert caught.value.code in RETRYABLE
    assert "\n" not in str(caught.value)
    assert not re.search("the-key|the-secret|Signature|Credential", str(caught.value))


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
@pytest.mark.parametrize(
    ("handler", "message"),
    [(slow_down, "S3 throttles requests: 503 SlowDown"), (wrong_time, "the clock of this machine is wrong: set it")],
)
def test_an_answer_that_is_not_about_the_image_is_a_fault_of_the_worker(
    key: str, handler: Handler, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(handler, monkeypatch), pytest.raises(SourceUnavailable, match=message) as caught:
        fetcher().fetch(f"s3://photos/{key}")

    assert caught.value.root == "s3://photos"
    assert str(caught.value) == f"cannot read s3://photos: {caught.value.reason}"
    assert not re.search("\n|the-key|the-secret|Credential=", str(caught.value))


@pytest.mark.parametrize("body", [BODY, LARGE_BODY], ids=["small", "large"])
def test_one_error_or_one_cut_connection_is_retried(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer_at_the_third_try(connection: Connection) -> None:
        match len(connection.server.requests):
            case 1:
                slow_down(connection)
            case 2:
                connection.answer_with(body[: len(body) // 2], length=len(body))
            case _:
                connection.answer_with(body[connection.first :], length=len(body))

    with serving(answer_at_the_third_try, monkeypatch):
        assert fetcher().fetch(f"s3://photos/{PLAIN_KEY}")[:] == body


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_the_body_of_an_object_over_the_limit_is_not_read(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def announce_much(connection: Connection) -> None:
        connection.answer_with(b"", length=50_000_000_000)
        connection.stall()

    with serving(announce_much, monkeypatch) as server, pytest.raises(TooLarge, match="50,000,000,000 bytes"):
        fetcher().fetch(f"s3://photos/{key}")

    assert len(server.requests) == 1


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_server_that_does_not_answer_is_named(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(slow_down, monkeypatch):
        pass

    with pytest.raises(FetchFailed, match=r"no connection to the S3 server at 127\.0\.0\.1"):
        fetcher().fetch(f"s3://photos/{key}")


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_private_certificate_authority_is_trusted_when_it_is_in_the_aws_ca_bundle(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, tls = own_certificate(tmp_path)

    with serving(lambda connection: connection.answer("200 OK", BODY), monkeypatch, tls):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        with pytest.raises(SourceUnavailable, match="is not trusted: set AWS_CA_BUNDLE to a file with its authority"):
            fetcher().fetch(f"s3://photos/{key}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert fetcher().fetch(f"s3://photos/{key}") == BODY


def own_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate for 127.0.0.1: a PEM file with its private key, and the context of a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    return path, tls
