from __future__ import annotations

import json
import os
import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

from fiqa_producer.errors import SettingsError
from fiqa_worker.errors import (
    AccessDenied,
    FetchFailed,
    FetchTimeout,
    ImageFailure,
    NotFound,
    SourceNotAllowed,
    TooLarge,
)
from fiqa_worker.sources import TRIES, Fetcher
from tests.conftest import Bucket
from tests.servers import S3Server

BODY = b"\xff\xd8 the bytes of a photo"
LARGE_BODY = b"\xff\xd8" + bytes(range(251)) * 13_001  # of no whole number of pages or parts
PLAIN_KEY = "photo.jpg"
ODD_KEY = "a//photo.jpg"  # one that obstore refuses, so that boto3 reads it


def fetcher(*allowed: str, max_bytes: int = 10_000_000, timeout_s: float = 10.0) -> Fetcher:
    return Fetcher(allowed or ("s3://",), max_bytes=max_bytes, timeout_s=timeout_s)


# S3


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    "key",
    [
        "photo.jpg",
        "with space.jpg",
        " leading and trailing space ",
        "plus+.jpg",
        "percent%20.jpg",
        "percent%zz.jpg",
        "%2e%2e/photo.jpg",
        "question?x=1",
        "hash#1",
        "ünï/写真.jpg",
        "e\u0301.jpg",
        "a&b=c;d:e,f@g$h!'()*",
        '<a>|"b"\\c`d^e[f]{g}~',
        "s3://other-bucket/photo.jpg",
        "/leading-slash.jpg",
        "//two-leading-slashes.jpg",
        "two//slashes.jpg",
        "trailing-slash/",
        "a/./b.jpg",
        "a/../b.jpg",
        "../b.jpg",
        "..",
        "tab\tkey",
        "\x7f",
    ],
)
def test_every_key_that_s3_takes_is_read_literally(bucket: Bucket, key: str) -> None:
    bucket.put(key.strip("/"), b"another object, that a normalised key would name")
    bucket.put(key, BODY)

    assert fetcher().fetch(bucket.uri(key)) == BODY


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_missing_object_is_not_found(bucket: Bucket, key: str) -> None:
    with pytest.raises(NotFound, match="no such object"):
        fetcher().fetch(bucket.uri(key))


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_missing_bucket_is_not_found_and_named(key: str) -> None:
    with pytest.raises(NotFound, match="no such bucket: nobody-made-this-one"):
        fetcher().fetch(f"s3://nobody-made-this-one/{key}")


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_denied_object_is_access_denied_and_its_neighbour_is_read(bucket: Bucket, key: str) -> None:
    denied, neighbour = bucket.put(f"secret/{key}", BODY), bucket.put(key, BODY)
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject"}
    statement["Resource"] = f"arn:aws:s3:::{bucket.name}/secret/*"
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))

    with pytest.raises(AccessDenied, match="403"):
        fetcher().fetch(denied)
    assert fetcher().fetch(neighbour) == BODY


@pytest.mark.usefixtures("s3_env")
def test_a_wrong_secret_is_access_denied_and_says_why(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if s3.name != "Ceph":
        pytest.skip("moto checks no signatures")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")

    with pytest.raises(AccessDenied, match="SignatureDoesNotMatch"):
        fetcher().fetch(bucket.put(PLAIN_KEY, BODY))


def test_without_credentials_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(AccessDenied, match="set AWS_ACCESS_KEY_ID"):
        fetcher().fetch("s3://photos/a.jpg")


@pytest.mark.usefixtures("s3_env")
def test_an_unknown_profile_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(FetchFailed, match=r"the S3 settings do not work: .*profile \(nobody\)"):
        fetcher().fetch("s3://photos/a.jpg")


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_an_object_at_the_limit_is_read_and_one_byte_more_is_too_large(bucket: Bucket, key: str) -> None:
    uri = bucket.put(key, bytes(1000))

    assert fetcher(max_bytes=1000).fetch(uri) == bytes(1000)
    with pytest.raises(TooLarge, match="1,000 bytes, and at most 999 are allowed"):
        fetcher(max_bytes=999).fetch(uri)


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_large_image_is_read_as_it_is(bucket: Bucket, key: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(LARGE_BODY)

    assert fetcher().fetch(bucket.put(key, LARGE_BODY))[:] == LARGE_BODY
    assert fetcher(tmp_path.as_uri()).fetch((tmp_path / "a.jpg").as_uri())[:] == LARGE_BODY


@pytest.mark.usefixtures("s3_env")
def test_an_empty_object_is_empty_bytes(bucket: Bucket) -> None:
    assert fetcher().fetch(bucket.put("empty.jpg", b"")) == b""


@pytest.mark.usefixtures("s3_env")
def test_many_threads_share_one_fetcher(bucket: Bucket) -> None:
    bodies = {
        bucket.put(f"{number}{slash}.jpg", b"%d" % number): b"%d" % number for number in range(40) for slash in "-/"
    }
    shared = fetcher()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(shared.fetch, bodies)) == list(bodies.values())


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize(
    "uri", ["s3://photos", "s3://photos/", "s3://", "s3:///a.jpg", "s3://../a.jpg", "s3://a b/c.jpg"]
)
def test_a_uri_without_a_bucket_or_a_key_is_not_found(uri: str) -> None:
    with pytest.raises(NotFound):
        fetcher().fetch(uri)


# What may be read


@pytest.mark.parametrize(
    ("allowed", "uri"),
    [
        ("s3://photos", "s3://photos-private/a.jpg"),
        ("s3://photos/", "s3://photos-private/a.jpg"),
        ("s3://photos/2024", "s3://photos/2024-secret/a.jpg"),
        ("s3://photos/2024/", "s3://photos/a.jpg"),
        ("s3://photos/", "s3://photos"),
        ("s3://", "S3://photos/a.jpg"),
        ("s3://", "file:///etc/passwd"),
        ("s3://", "https://example.org/a.jpg"),
        ("s3://", "http://169.254.169.254/latest/meta-data"),
        ("s3://", "photos/a.jpg"),
        ("s3://", "/etc/passwd"),
        ("s3://", "s3:/photos/a.jpg"),
        ("s3://", "data:image/png;base64,AAAA"),
        ("file:///data", "file:///data-private/a.jpg"),
        ("file:///data", "file:///data/../etc/passwd"),
        ("file:///data", "file:///data/%2e%2e/etc/passwd"),
        ("file:///data", "file:///data/..%2Fetc/passwd"),
        ("file:///data", "file://data/a.jpg"),
        ("file:///data", "file://elsewhere/data/a.jpg"),
        ("file:///data", "file:data/a.jpg"),
        ("file:///data", "s3://photos/a.jpg"),
        ("file:///", "file:///../etc/passwd"),
    ],
)
def test_what_is_not_below_an_allowed_prefix_is_not_read(allowed: str, uri: str) -> None:
    with pytest.raises(SourceNotAllowed):
        fetcher(allowed).fetch(uri)


@pytest.mark.usefixtures("s3_env")
@pytest.mark.parametrize("below", ["", "/", "/public", "/public/"])
def test_what_is_below_an_allowed_prefix_is_read(bucket: Bucket, below: str) -> None:
    uri = bucket.put("public/a.jpg", BODY)

    assert fetcher("s3://another-one/", f"s3://{bucket.name}{below}").fetch(uri) == BODY


@pytest.mark.usefixtures("s3_env")
def test_dots_in_a_key_lead_nowhere_else(bucket: Bucket) -> None:
    bucket.put("private/a.jpg", BODY)

    with pytest.raises(NotFound):
        fetcher(f"s3://{bucket.name}/public/").fetch(bucket.uri("public/../private/a.jpg"))


@pytest.mark.parametrize("prefix", ["photos/", "https://", "file://", "file://host/data", "s3:", "*"])
def test_a_prefix_that_allows_nothing_is_a_settings_error(prefix: str) -> None:
    with pytest.raises(SettingsError, match=f"FIQA_ALLOWED_SOURCES: {re.escape(repr(prefix))}"):
        fetcher("s3://", prefix)


# Files


@pytest.mark.parametrize("name", ["a.jpg", "a b.jpg", "100%.jpg", "写真?#+.jpg", os.fsdecode(b"\xff.jpg")])
def test_a_file_is_read_by_the_uri_that_pathlib_writes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BODY)

    assert fetcher(tmp_path.as_uri()).fetch((tmp_path / name).as_uri()) == BODY


def test_a_link_is_followed_inside_the_allowed_folder_and_not_out_of_it(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "a.jpg").write_bytes(BODY)
    (inside / "link.jpg").symlink_to("a.jpg")
    (inside / "escape.jpg").symlink_to(outside / "a.jpg")
    (inside / "escape").symlink_to(outside)
    (tmp_path / "root").symlink_to(inside)

    assert fetcher(inside.as_uri()).fetch((inside / "link.jpg").as_uri()) == BODY
    assert fetcher((tmp_path / "root").as_uri()).fetch((tmp_path / "root" / "a.jpg").as_uri()) == BODY
    for path in ("escape.jpg", "escape/a.jpg"):
        with pytest.raises(SourceNotAllowed):
            fetcher(inside.as_uri()).fetch((inside / path).as_uri())


def test_what_is_no_regular_file_is_not_found_and_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "file.txt").touch()
    allowed = fetcher(tmp_path.as_uri())

    for name in ("pipe.jpg", "loop.jpg", "missing.jpg", "file.txt/a.jpg", "x" * 300, "a%00.jpg", ""):
        with pytest.raises(NotFound, match="no such file"):
            allowed.fetch(f"{tmp_path.as_uri()}/{name}")


def test_a_file_that_the_user_may_not_read_is_access_denied(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(BODY)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read anything
        os.seteuid(65534)
    try:
        with pytest.raises(AccessDenied, match="may not read"):
            fetcher(tmp_path.as_uri()).fetch(path.as_uri())
    finally:
        os.seteuid(user)


def test_a_file_over_the_limit_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1000))

    assert fetcher(tmp_path.as_uri(), max_bytes=1000).fetch(path.as_uri()) == bytes(1000)
    with pytest.raises(TooLarge, match="1,000 bytes, and at most 999 are allowed"):
        fetcher(tmp_path.as_uri(), max_bytes=999).fetch(path.as_uri())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_file_that_is_longer_than_it_says_is_too_large() -> None:
    assert Path("/proc/self/status").stat().st_size == 0

    with pytest.raises(TooLarge):
        fetcher("file:///proc", max_bytes=100).fetch("file:///proc/self/status")


# Servers that answer badly: each handler gets a request and writes to the connection, which is closed after it.

Handler: TypeAlias = Callable[["Connection"], None]


class Connection(socketserver.StreamRequestHandler):
    server: BadServer

    def handle(self) -> None:
        self.request_line = self.rfile.readline().decode()
        if not self.request_line:
            return  # the client gave up before it asked
        headers = takewhile(b"\r\n".__ne__, self.rfile)  # ends where the connection does, too
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
        """The object, of so many bytes, from where the client wants it; the body may be shorter than that."""
        self.answer("206 Partial Content" if self.first else "200 OK", body, length - self.first)

    def stall(self) -> None:
        self.server.over.wait()


class BadServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True  # not waited for: a client may keep a connection on which it asks nothing

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


def another_region(connection: Connection) -> None:
    connection.answer("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>")


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
@pytest.mark.parametrize(
    ("handler", "failure", "message"),
    [
        (slow_down, FetchFailed, "503 SlowDown"),
        (wrong_time, FetchFailed, "set the clock"),
        (cut_off, FetchFailed, "no whole answer"),
        (stall_before_the_answer, FetchTimeout, r"within 0\.3 s"),
        (stall_in_the_body, FetchTimeout, r"within 0\.3 s"),
        (cut_off_a_large_body, FetchFailed, "no whole answer"),
        (stall_in_a_large_body, FetchTimeout, r"within 0\.3 s"),
        (no_http, FetchFailed, "no whole answer"),
    ],
)
def test_a_server_that_answers_badly_is_one_sentence_without_secrets(
    key: str, handler: Handler, failure: type[ImageFailure], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeout_s = 0.3 if failure is FetchTimeout else 10.0
    with serving(handler, monkeypatch) as server, pytest.raises(failure, match=message) as caught:
        fetcher(timeout_s=timeout_s).fetch(f"s3://photos/{key}")

    assert len(server.requests) <= TRIES
    assert caught.value.retryable
    assert "\n" not in str(caught.value)
    assert not re.search("the-key|the-secret|Signature|Credential", str(caught.value))


@pytest.mark.parametrize("body", [BODY, LARGE_BODY], ids=["small", "large"])
def test_a_server_that_errs_once_or_cuts_once_costs_nothing(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_the_body_of_an_object_over_the_limit_is_not_waited_for(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def announce_much(connection: Connection) -> None:
        connection.answer_with(b"", length=50_000_000_000)
        connection.stall()

    with serving(announce_much, monkeypatch) as server, pytest.raises(TooLarge, match="50,000,000,000 bytes"):
        fetcher().fetch(f"s3://photos/{key}")

    assert len(server.requests) == 1


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_server_that_is_not_there_is_named(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(slow_down, monkeypatch):
        pass

    with pytest.raises(FetchFailed, match=r"no connection to the S3 server at 127\.0\.0\.1"):
        fetcher().fetch(f"s3://photos/{key}")


def test_a_bucket_in_another_region_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(another_region, monkeypatch), pytest.raises(FetchFailed, match="set AWS_DEFAULT_REGION"):
        fetcher().fetch(f"s3://photos/{PLAIN_KEY}")


@pytest.mark.parametrize(
    ("bucket_name", "requested"),
    [
        ("photos", "http://photos.s3.eu-west-1.amazonaws.com/photo.jpg"),
        ("photos.with.dots", "http://s3.eu-west-1.amazonaws.com/photos.with.dots/photo.jpg"),
    ],
)
def test_amazon_gets_the_bucket_in_the_host_name(
    bucket_name: str, requested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda connection: connection.answer("200 OK", BODY), monkeypatch) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.eu-west-1.amazonaws.com")
        monkeypatch.setenv("http_proxy", f"http://{server.netloc}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

        assert fetcher().fetch(f"s3://{bucket_name}/{PLAIN_KEY}") == BODY
        assert server.requests == [f"GET {requested} HTTP/1.1\r\n"]


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_private_certificate_authority_is_trusted_when_it_is_in_the_aws_ca_bundle(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = own_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    with serving(lambda connection: connection.answer("200 OK", BODY), monkeypatch, tls):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        with pytest.raises(FetchFailed):
            fetcher().fetch(f"s3://photos/{key}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert fetcher().fetch(f"s3://photos/{key}") == BODY


def own_certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its private key, in one PEM file."""
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
    return path
