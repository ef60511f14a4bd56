"""If S3 cannot be opened, each try reports the same reason. Later tries succeed without a new process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from fiqa.errors import FiqaError
from fiqa.ledger.connection import Connection
from fiqa.sources.listing import list_objects
from fiqa.storage.storage import Storage, open_storage
from fiqa_worker.errors import SourceUnavailable
from tests.conftest import Bucket
from tests.producer.container_credentials import ContainerCredentials, container_credentials
from tests.producer.s3_settings import clear, keys_of, proxied, set_all
from tests.refusing_s3 import refusing_s3
from tests.servers import S3Server, start_moto
from tests.waiting import wait_until
from tests.worker.pipeline.fetching import BODY, ODD_KEY, PLAIN_KEY, fetcher

JOB = "20260101-000000-000000"


@pytest.fixture
def late() -> Iterator[ContainerCredentials]:
    with container_credentials() as server:
        yield server


@pytest.fixture(scope="module")
def any_key_s3() -> Iterator[S3Server]:
    """A server that accepts any access key. Ceph accepts only its own keys, and these tests change their keys."""
    with start_moto() as server:
        yield server


@pytest.fixture
def any_key_bucket(any_key_s3: S3Server) -> Iterator[Bucket]:
    with closing(any_key_s3.client()) as client:
        name = f"test-{uuid4().hex}"
        client.create_bucket(Bucket=name)
        yield Bucket(name, client)


@pytest.fixture
def nowhere() -> Connection:
    return Connection("redis://127.0.0.1:1")


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(FiqaError) as caught:
        call()
    return str(caught.value)


def succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except SourceUnavailable:
        return False
    return True


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_container_credentials_that_come_late_fail_no_image_and_then_work(
    key: str, bucket: Bucket, s3: S3Server, late: ContainerCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put(key, BODY)
    clear(monkeypatch)
    set_all(monkeypatch, {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_CONTAINER_CREDENTIALS_FULL_URI": late.url})
    reader = fetcher()

    def errors() -> set[str]:
        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(lambda _: error_of(lambda: reader.fetch(uri)), range(8)))

    first, later = errors(), errors()
    assert len(first | later) == 1
    assert "container" in first.pop()
    late.key = (s3.access_key, s3.secret_key)
    wait_until(lambda: succeeds(lambda: reader.fetch(uri)))
    assert reader.fetch(uri) == BODY


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, {}),
        ({"AWS_PROFILE": "nobody"}, {"AWS_PROFILE": ""}),
        ({"AWS_CONFIG_FILE": "{folder}/broken"}, {"AWS_CONFIG_FILE": "/dev/null"}),
        ({"AWS_SHARED_CREDENTIALS_FILE": "{folder}/broken"}, {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}),
        ({"AWS_ENDPOINT_URL": "https://127.0.0.1:1", "AWS_CA_BUNDLE": "/none.pem"}, {"AWS_CA_BUNDLE": ""}),
        ({"AWS_ACCESS_KEY_ID": ""}, {}),
        ({"AWS_SECRET_ACCESS_KEY": ""}, {}),
    ],
    ids=["endpoint", "profile", "config", "credentials file", "authority", "no key", "half a key"],
)
def test_a_setting_that_is_put_right_is_read_again(
    *,
    key: str,
    wrong: dict[str, str],
    right: dict[str, str],
    bucket: Bucket,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = bucket.put(key, BODY)
    clear(monkeypatch)
    (tmp_path / "broken").write_text("[default\nregion")
    good = keys_of(s3) | {"AWS_ENDPOINT_URL": s3.endpoint}
    set_all(monkeypatch, good | {name: value.format(folder=tmp_path) for name, value in wrong.items()})
    reader = fetcher()

    assert len({error_of(lambda: reader.fetch(uri)) for _ in range(3)}) == 1
    set_all(monkeypatch, good | right)
    wait_until(lambda: succeeds(lambda: reader.fetch(uri)))
    assert reader.fetch(uri) == BODY


def write_keys(file: Path, key: str) -> None:
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_credentials_that_expire_are_read_again(
    *,
    key: str,
    any_key_bucket: Bucket,
    any_key_s3: S3Server,
    nowhere: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = any_key_bucket.put(key, BODY)
    clear(monkeypatch)
    write_keys(tmp_path / "keys", "old")
    with proxied(any_key_s3) as (proxy, url):
        set_all(monkeypatch, {"AWS_ENDPOINT_URL": url, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")})
        reader, storage = fetcher(), open_storage(any_key_bucket.uri("storage"), nowhere)
        assert reader.fetch(uri) == BODY
        assert storage.write_once(JOB, "results", 0, b"x")

        proxy.expired_key = "old"
        text = "the credentials have expired: renew them$"
        with pytest.raises(SourceUnavailable, match=text):
            reader.fetch(uri)
        assert error_of(lambda: storage.read(JOB, "results", 0)).endswith(text.rstrip("$"))
        write_keys(tmp_path / "keys", "new")
        assert reader.fetch(uri) == BODY
        assert storage.read(JOB, "results", 0) == b"x"


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_container_credentials_are_renewed_before_they_expire_or_after(
    key: str, any_key_bucket: Bucket, any_key_s3: S3Server, late: ContainerCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = any_key_bucket.put(key, BODY)
    clear(monkeypatch)
    with proxied(any_key_s3) as (proxy, url):
        late.key, late.valid_for = ("first", "secret"), timedelta(hours=1)
        set_all(monkeypatch, {"AWS_ENDPOINT_URL": url, "AWS_CONTAINER_CREDENTIALS_FULL_URI": late.url})
        reader = fetcher()
        assert reader.fetch(uri) == BODY
        late.key, proxy.expired_key = ("second", "secret"), "first"
        assert reader.fetch(uri) == BODY
        assert b"Credential=second/" in proxy.heads[-1]


def test_the_error_for_a_metadata_service_that_hangs_is_one_line(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(monkeypatch)
    with closing(socket.create_server(("127.0.0.1", 0))) as hanging:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        imds = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        set_all(monkeypatch, {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds})
        reader = fetcher()
        errors = {error_of(lambda: reader.fetch(bucket.uri(PLAIN_KEY))) for _ in range(2)}
        assert [error.partition(": ")[2] for error in errors] == [
            "no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ]


def test_a_storage_that_was_opened_without_credentials_finds_them_later(
    bucket: Bucket, s3: S3Server, nowhere: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(monkeypatch)
    set_all(monkeypatch, {"AWS_ENDPOINT_URL": s3.endpoint})
    storage: Storage = open_storage(bucket.uri(""), nowhere)
    for _ in range(2):
        assert "no credentials: set AWS_PROFILE" in error_of(lambda: storage.write_once(JOB, "results", 0, b"x"))
    set_all(monkeypatch, keys_of(s3))
    assert storage.write_once(JOB, "results", 0, b"x")
    assert storage.chunks(JOB, "results") == [0]


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_token_file_that_comes_late_is_read_then(
    key: str, bucket: Bucket, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if s3.name != "moto":
        pytest.skip("needs a server that also is STS")
    uri = bucket.put(key, BODY)
    clear(monkeypatch)
    token = tmp_path / "token"
    role = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/mine", "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    set_all(monkeypatch, role | {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_REGION": "eu-west-1"})
    reader = fetcher()

    assert len({error_of(lambda: reader.fetch(uri)) for _ in range(2)}) == 1
    assert "\n" not in error_of(lambda: list_objects(bucket.name, ""))
    token.write_text("token")
    wait_until(lambda: succeeds(lambda: reader.fetch(uri)))
    assert reader.fetch(uri) == BODY


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_role_that_is_denied_fails_no_image(
    key: str, bucket: Bucket, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("token")
    clear(monkeypatch)
    role = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/mine", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    with refusing_s3(403, "AccessDenied") as sts:
        urls = {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_ENDPOINT_URL_STS": sts, "AWS_REGION": "eu-west-1"}
        set_all(monkeypatch, role | urls)
        with pytest.raises(
            SourceUnavailable, match=r"the S3 credentials could not be renewed: .*AssumeRoleWithWebIdentity"
        ):
            fetcher().fetch(bucket.uri(key))
