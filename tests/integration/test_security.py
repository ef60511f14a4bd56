"""Redis over TLS with an ACL user. Passwords, keys and signatures, which no output may show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fiqa import Client, JobState
from tests.conftest import Bucket
from tests.fiqa_process import BUILTIN, Run, run_fiqa
from tests.integration import planted
from tests.integration.conftest import StartWorker
from tests.keys import QUEUE, job_key
from tests.servers import RedisServer, S3Server, free_ports, start_redis
from tests.waiting import WAIT_S, wait_until

PASSWORD = "p@ss/w%rd-5f1c"  # noqa: S105  a test's own
SIGNATURE = "5f1c0ffee5f1c0ffee"

# The user of docs/operate.md.
ACL = (
    *("on", "resetchannels", "resetkeys"),
    *("~{fiqa}:*", "~_kombu.binding.{fiqa}:*", "~_kombu.binding_permanent.{fiqa}:*"),
    *("-@all", "+@string", "+@hash", "+@list", "+@set", "+@sortedset", "+@bitmap", "-@dangerous"),
    *("+del", "+unlink", "+exists", "+expire", "+pexpire", "+persist", "+ttl", "+pttl"),
    *("+multi", "+exec", "+discard", "+watch", "+unwatch", "+evalsha", "+script|load"),
    *("+ping", "+select", "+time", "+info", "+client|setname"),
)
FORBIDDEN = (
    *(["GET", "other"], ["GET", "{fiqa}other"], ["GET", "{fiqa2}:jobs"], ["SMEMBERS", "_kombu.binding.celery"]),
    ["SORT", QUEUE, "GET", "other"],
    *(["FUNCTION", "LOAD", "REPLACE", "#!lua name=other"], ["FUNCTION", "FLUSH"], ["FCALL", "other", "0"]),
    *(["SCRIPT", "FLUSH"], ["SCRIPT", "KILL"], ["EVAL", "return 1", "0"]),
    *(["SCAN", "0"], ["KEYS", "*"], ["RANDOMKEY"], ["DBSIZE"]),
    *(["COPY", QUEUE, "other"], ["MOVE", QUEUE, "1"], ["RENAME", QUEUE, "other"], ["DUMP", QUEUE]),
    *(["MIGRATE", "host", "1", QUEUE, "0", "1"], ["RESTORE", QUEUE, "0", "x"], ["OBJECT", "ENCODING", QUEUE]),
    *(["FLUSHALL"], ["FLUSHDB"], ["SWAPDB", "0", "1"], ["SHUTDOWN"], ["MONITOR"]),
    *(
        ["CONFIG", "GET", "*"],
        ["CONFIG", "SET", "maxmemory", "1"],
        ["ACL", "LIST"],
        ["ACL", "SETUSER", "fiqa", "+@all"],
    ),
    *(["REPLICAOF", "NO", "ONE"], ["FAILOVER"], ["BGSAVE"], ["SLOWLOG", "GET"], ["LATENCY", "LATEST"]),
    *(["CLIENT", "LIST"], ["CLIENT", "KILL", "TYPE", "normal"], ["CLIENT", "PAUSE", "1"]),
    *(["PUBLISH", "channel", "x"], ["SUBSCRIBE", "channel"], ["MODULE", "LIST"]),
)


@dataclass(frozen=True)
class Secure:
    """A Redis that takes TLS with a client's certificate, and a user with no more rights than fiqa needs."""

    port: int
    folder: Path
    admin: Any  # of redis-py's commands some have no types

    def url(self, *, password: str = PASSWORD, ca: str = "ca", client: str | None = "client") -> str:
        options = [f"ssl_ca_certs={self.folder / ca}.pem"]
        if client:
            options += [f"ssl_certfile={self.folder / client}.pem", f"ssl_keyfile={self.folder / client}.pem"]
        return f"rediss://fiqa:{quote(password, safe='')}@127.0.0.1:{self.port}/0?{'&'.join(options)}"


@pytest.fixture(scope="module")
def secure(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    if redis_server.name.startswith("embedded"):
        pytest.skip("the embedded Valkey is built without TLS")
    folder = tmp_path_factory.mktemp("tls")
    authority = make_certificate(folder / "ca.pem")
    make_certificate(folder / "other-ca.pem")
    for name in ("server", "client"):
        make_certificate(folder / f"{name}.pem", authority)
    port = free_ports(2)
    settings = {
        "tls-port": str(port),
        "tls-cert-file": str(folder / "server.pem"),
        "tls-key-file": str(folder / "server.pem"),
        "tls-ca-cert-file": str(folder / "ca.pem"),
        "tls-auth-clients": "yes",
    }
    with start_redis(folder, settings, port + 1) as server:
        admin: Any = redis.Redis.from_url(server.url)
        admin.execute_command("ACL", "SETUSER", "fiqa", f">{PASSWORD}", *ACL)
        yield Secure(port, folder, admin)


Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def make_certificate(path: Path, authority: Authority | None = None) -> Authority:
    """Make a certificate for 127.0.0.1, with its key, in one PEM file. Without an authority, make an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.stem)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            authority[0].subject if authority else name,
            name,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(hours=1),
            now + timedelta(days=1),
        )
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(authority[1] if authority else key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def fiqa(*arguments: str, **environment: str) -> Run:
    return run_fiqa(*arguments, environment={**os.environ, **BUILTIN, **environment})


# TLS and ACL


@pytest.mark.parametrize("storage", ["redis", "storage"])
def test_a_jobs_whole_life_goes_over_tls_as_a_user_with_few_rights(
    secure: Secure, storage: str, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    secure.admin.flushall()
    secure.admin.execute_command("ACL", "LOG", "RESET")
    uris = [path.as_uri() for path in sorted(photos.iterdir())]
    worker = start_worker(FIQA_REDIS_URL=secure.url(), FIQA_ALLOWED_SOURCES=photos.as_uri(), concurrency=2)
    with Client(secure.url(), storage if storage == "redis" else str(tmp_path / storage)) as client:
        job = client.submit(uris)
        status = client.wait(job.id, WAIT_S)
        assert (status.state, status.images_done) == (JobState.SUCCEEDED, len(uris))
        assert len(list(client.results(job.id))) == len(uris)
        again = client.retry(job.id, all_failed=True)
        assert client.wait(again.id, WAIT_S).state is JobState.SUCCEEDED
        stopped = client.submit(uris * 200)
        client.pause(stopped.id)
        client.resume(stopped.id)
        secure.admin.hset(job_key(stopped.id), "state", "failed")  # as if too many of its images had failed
        client.resume(stopped.id, max_failed=1)
        assert [found.processes for found in client.workers()] == [2]
        client.cancel(stopped.id)
        client.delete(stopped.id)
        assert {found.id for found in client.jobs()} == {job.id, again.id}
        if storage != "redis":
            secure.admin.flushall()
            client.recover(job.id)
            assert client.wait(job.id, WAIT_S).images_done == len(uris)
    wait_until(lambda: not secure.admin.llen(QUEUE))
    worker.process.terminate()
    assert worker.process.wait(WAIT_S) == 0
    assert secure.admin.execute_command("ACL", "LOG") == []
    assert PASSWORD not in worker.log
    assert quote(PASSWORD, safe="") not in worker.log


def test_a_script_of_the_user_reads_no_strangers_key(secure: Secure) -> None:
    secure.admin.set("other", "secret")
    user: Any = redis.Redis.from_url(secure.url())
    with closing(user):
        script = user.script_load("return redis.call('GET', 'other')")
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|can't access"):
            user.evalsha(script, 0)


@pytest.mark.parametrize("command", FORBIDDEN, ids=" ".join)
def test_the_user_may_do_nothing_else(secure: Secure, command: list[str]) -> None:
    user: Any = redis.Redis.from_url(secure.url())
    with closing(user), pytest.raises(redis.exceptions.NoPermissionError):
        user.execute_command(*command)


@pytest.mark.parametrize("command", ["jobs", "worker"])
def test_what_is_wrong_with_a_login_is_one_clear_line_without_the_password(secure: Secure, command: str) -> None:
    login = f"fiqa:{quote(PASSWORD, safe='')}@127.0.0.1"
    client = secure.url().partition("?")[2]
    (secure.folder / "not-pem.pem").write_text("5f1c")
    wrong = {
        secure.url(password="wrong-5f1c"): "refuses the login: check user and password in FIQA_REDIS_URL",  # noqa: S106
        secure.url(ca="other-ca"): "shows a certificate that is not trusted: set ssl_ca_certs",
        secure.url(client=None): "certificate",  # in the words of the client or of Redis: either may notice it first
        secure.url(client="other-ca"): "certificate",
        secure.url().replace("127.0.0.1", "localhost"): "shows a certificate for another name",
        f"redis://{login}:{secure.port}/0": "if this port takes TLS only, use rediss://",
        f"rediss://{login}:{secure.port + 1}/0?{client}&socket_timeout=1": "if this port takes no TLS, use redis://",
    }
    if command == "jobs":  # the worker reads its settings with the same code, after a second
        wrong |= {
            secure.url(ca="no-such-ca"): "FIQA_REDIS_URL: ssl_ca_certs: No such file or directory",
            secure.url(ca="not-pem"): "FIQA_REDIS_URL: ssl_ca_certs: not certificates of authorities in PEM",
            secure.url(client="none"): "FIQA_REDIS_URL: ssl_certfile and ssl_keyfile: No such file or directory",
            secure.url(client="not-pem"): "FIQA_REDIS_URL: ssl_certfile and ssl_keyfile: not a certificate and its key",
            f"{secure.url()}&ssl_ciphers=5f1c": "FIQA_REDIS_URL: ssl_ciphers: not a list of ciphers",
        }
    for url, why in wrong.items():
        done = fiqa(command, FIQA_REDIS_URL=url)
        (line,) = [text for text in done.stderr.splitlines() if text]
        assert done.returncode == (2 if "FIQA_REDIS_URL: " in why else 1)
        assert line.startswith("fiqa: ")
        assert why in line
        assert_no_secret(done.stdout + done.stderr)


# Secrets that no output may show


def assert_no_secret(text: str) -> None:
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "5f1c"):
        assert secret not in text


def test_a_worker_and_its_log_show_no_password_key_or_signature(
    secure: Secure, photos: Path, tmp_path: Path, start_worker: StartWorker
) -> None:
    secure.admin.flushall()
    raises = tmp_path / f"a.jpg?X-Amz-Signature={SIGNATURE}&X-Amz-Credential={SIGNATURE}"
    raises.write_bytes(planted.RAISES)
    uris = [
        f"{tmp_path.as_uri()}/{raises.name}",
        f"file:///elsewhere/a.jpg?X-Amz-Signature={SIGNATURE}",
        f"s3://bucket/a.jpg?X-Amz-Signature={SIGNATURE}",
        f"{tmp_path.as_uri()}/missing.jpg?X-Amz-Signature={SIGNATURE}",
        *(path.as_uri() for path in photos.iterdir()),
    ]
    worker = start_worker(
        module="tests.integration.planted",
        FIQA_REDIS_URL=secure.url(),
        FIQA_ALLOWED_SOURCES=f"{photos.as_uri()},{tmp_path.as_uri()},s3://",
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_ACCESS_KEY_ID=f"key-{SIGNATURE}",
        AWS_SECRET_ACCESS_KEY=f"secret-{SIGNATURE}",
    )
    with Client(secure.url(), str(tmp_path / "storage")) as client:
        job = client.submit(uris)
        status = client.wait(job.id, WAIT_S)
        codes = [result.error.code.value for result in client.results(job.id) if result.error]
        assert codes[:4] == ["internal_error", "source_not_allowed", "fetch_failed", "not_found"]
        assert client.wait(client.submit(uris[-1:]).id, WAIT_S).state is JobState.SUCCEEDED
    assert status.state is JobState.SUCCEEDED
    assert "a.jpg: internal error" in worker.log
    # Redis refuses the worker while it runs.
    secure.admin.execute_command("ACL", "SETUSER", "fiqa", "resetpass", ">another")
    secure.admin.execute_command("CLIENT", "KILL", "USER", "fiqa")
    try:
        wait_until(lambda: "refuses the login" in worker.log or "invalid username-password" in worker.log.lower())
    finally:
        secure.admin.execute_command("ACL", "SETUSER", "fiqa", "resetpass", f">{PASSWORD}")
    worker.process.kill()
    worker.process.wait()
    assert_no_secret(worker.log)


@pytest.mark.usefixtures("s3_env")
def test_a_worker_that_s3_refuses_shows_no_key(
    s3: S3Server, redis_url: str, bucket: Bucket, tmp_path: Path, start_worker: StartWorker
) -> None:
    if s3.name != "Ceph":
        pytest.skip("moto checks no keys")
    worker = start_worker(AWS_SECRET_ACCESS_KEY=f"wrong-{SIGNATURE}", FIQA_ALLOWED_SOURCES="s3://")
    uri = bucket.put("a.jpg", b"x")
    with Client(redis_url, str(tmp_path)) as client:
        job = client.submit([uri, f"{uri}?X-Amz-Signature={SIGNATURE}"])
        # The machine is at fault, not the images: the job waits for one that S3 lets in.
        wait_until(lambda: client.status(job.id).last_error)
        error = client.status(job.id).last_error or ""
        assert "SignatureDoesNotMatch" in error or "secret key" in error
        assert_no_secret(error)
        client.cancel(job.id)
    with Client(redis_url, f"s3://{bucket.name}/storage") as client:
        client.submit([uri])
        wait_until(lambda: "chunk failed, next attempt in" in worker.log)
    assert_no_secret(worker.log)
    assert s3.access_key not in worker.log


@pytest.mark.parametrize("options", ["", "?password={0}", "?username=fiqa&password={0}"])
def test_a_redis_that_is_down_is_reported_without_its_password(options: str) -> None:
    login = "" if options else f":{quote(PASSWORD, safe='')}@"
    url = f"redis://{login}127.0.0.1:1/0" + options.format(quote(PASSWORD, safe=""))
    for command in (["jobs"], ["worker"], ["submit", f"s3://bucket/a.jpg?X-Amz-Signature={SIGNATURE}"]):
        done = fiqa(*command, FIQA_REDIS_URL=url)
        assert done.returncode
        assert_no_secret(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", f"https://store/a.jpg?X-Amz-Signature={SIGNATURE}"],
        ["submit", f"s3://bucket/a.jpg?X-Amz-Signature={SIGNATURE}"],
        ["submit", f"s3://bucket/{'a' * 5000}.jpg?X-Amz-Signature={SIGNATURE}.jpg"],
    ],
    ids=["https", "s3", "long"],
)
def test_a_source_that_is_refused_is_reported_without_its_signature(redis_url: str, arguments: list[str]) -> None:
    done = fiqa(*arguments, FIQA_REDIS_URL=redis_url)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert_no_secret(done.stdout + done.stderr)


def test_a_wrong_storage_is_reported_without_its_password(redis_url: str) -> None:
    wrong = {
        f"https://me:{SIGNATURE}@store/x": "FIQA_STORAGE: credentials are not a part of a URI: ",
        f"https://store/x?sig={SIGNATURE}": "FIQA_STORAGE: 'https://store/x' is neither",
    }
    for storage, why in wrong.items():
        done = fiqa("submit", "s3://bucket/a.jpg", FIQA_REDIS_URL=redis_url, FIQA_STORAGE=storage)
        assert done.returncode == 2
        assert why in done.stderr
        assert_no_secret(done.stdout + done.stderr)
