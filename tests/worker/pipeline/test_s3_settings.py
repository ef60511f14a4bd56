"""Clients and workers find the same region, endpoint, credentials, certificates and addresses."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fiqa.errors import FiqaError, SourceError
from fiqa.s3 import s3_client
from fiqa.sources.listing import list_objects
from fiqa_worker.errors import SourceUnavailable
from tests.conftest import Bucket
from tests.faults.proxy import region_of
from tests.producer.s3_settings import clear, keys_of, proxied, set_all, write_profile
from tests.servers import S3Server
from tests.worker.pipeline.fetching import BODY, ODD_KEY, PLAIN_KEY, fetcher
from tests.worker.pipeline.test_bad_servers import serving

PROFILE = """
[default]
region = ap-south-1
[profile mine]
region = sa-east-1
"""


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "ap-south-1"),
        ({"AWS_PROFILE": "mine"}, "sa-east-1"),
        ({"AWS_PROFILE": "mine", "AWS_DEFAULT_PROFILE": "default"}, "sa-east-1"),
        ({"AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "mine"}, "sa-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-2", "AWS_PROFILE": "mine"}, "eu-central-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": " ", "AWS_PROFILE": "mine"}, "sa-east-1"),
    ],
)
def test_the_region_is_that_of_the_sdks_for_clients_and_workers(
    *,
    variables: dict[str, str],
    region: str,
    bucket: Bucket,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key in (PLAIN_KEY, ODD_KEY):
        bucket.put(key, BODY)
    clear(monkeypatch)
    with proxied(s3) as (proxy, url):
        profile = {"AWS_CONFIG_FILE": write_profile(tmp_path, PROFILE)}
        set_all(monkeypatch, keys_of(s3) | profile | {"AWS_ENDPOINT_URL": url} | variables)

        assert sorted(list_objects(bucket.name, "")) == sorted([PLAIN_KEY, ODD_KEY])
        assert fetcher().fetch(bucket.uri(PLAIN_KEY)) == BODY
        assert fetcher().fetch(bucket.uri(ODD_KEY)) == BODY
        assert [region_of(head) for head in proxy.heads] == [region] * 3


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_a_bucket_in_another_region_is_followed_once(
    key: str, bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key, BODY)
    clear(monkeypatch)
    with proxied(s3) as (proxy, url):
        proxy.region = "eu-west-3"
        set_all(monkeypatch, keys_of(s3) | {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-west-2"})
        reader = fetcher()

        assert list(list_objects(bucket.name, "")) == [key]
        assert reader.fetch(bucket.uri(key)) == BODY
        proxy.heads.clear()
        assert [reader.fetch(bucket.uri(key)) for _ in range(3)] == [BODY] * 3
        assert [region_of(head) for head in proxy.heads] == ["eu-west-3"] * 3


def test_all_threads_follow_a_bucket_to_its_region(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = [bucket.put(f"{number}.jpg", BODY) for number in range(48)]
    clear(monkeypatch)
    with proxied(s3) as (proxy, url), ThreadPoolExecutor(16) as pool:
        proxy.region = "eu-west-3"
        set_all(monkeypatch, keys_of(s3) | {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-west-2"})
        assert list(pool.map(fetcher().fetch, uris)) == [BODY] * 48


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "'localhost:9000' is not a URL: AWS_ENDPOINT_URL .* http://"),
        ({"AWS_ENDPOINT_URL_S3": "minio"}, "'minio' is not a URL"),
        ({"AWS_PROFILE": "nobody"}, r"profile \(nobody\)"),
        ({"AWS_REGION": "not a region"}, "'not a region' doesn't match"),
        ({"AWS_CA_BUNDLE": "/none.pem"}, "/none.pem: No such file or directory: AWS_CA_BUNDLE"),
        ({"REQUESTS_CA_BUNDLE": "/dev/null"}, "/dev/null holds no certificate: AWS_CA_BUNDLE"),
        ({"AWS_CA_BUNDLE": "/"}, "/: Is a directory: AWS_CA_BUNDLE"),
    ],
)
def test_a_wrong_setting_is_the_same_clear_line_each_time_and_for_both(
    variables: dict[str, str], text: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(monkeypatch)
    set_all(monkeypatch, keys_of(s3) | {"AWS_REGION": "eu-west-1"} | variables)
    reader = fetcher()

    def error_of(call: Callable[[], object]) -> str:
        with pytest.raises(FiqaError, match=text) as caught:
            call()
        return str(caught.value)

    for_clients = {error_of(s3_client) for _ in range(2)}
    for_workers = {error_of(lambda: reader.fetch("s3://photos/a.jpg")) for _ in range(2)}
    assert len(for_clients | {line.removeprefix("cannot read s3://photos: ") for line in for_workers}) == 1
    assert "\n" not in for_clients.pop()


ENDPOINTS = """
[default]
region = eu-west-1
endpoint_url = {wrong}
services = mine
[services mine]
s3 =
  endpoint_url = {url}
"""


@pytest.mark.parametrize("where", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "services"])
def test_the_endpoint_is_that_of_the_sdks(
    where: str, bucket: Bucket, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(PLAIN_KEY, BODY)
    clear(monkeypatch)
    wrong = "http://127.0.0.1:1"
    with proxied(s3) as (proxy, url):
        config = write_profile(tmp_path, ENDPOINTS.format(wrong=wrong, url=url if where == "services" else wrong))
        endpoints = {
            "AWS_ENDPOINT_URL_S3": {"AWS_ENDPOINT_URL_S3": url, "AWS_ENDPOINT_URL": wrong},
            "AWS_ENDPOINT_URL": {"AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": url},
            "services": {"AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": ""},
        }[where]
        set_all(monkeypatch, keys_of(s3) | {"AWS_CONFIG_FILE": config} | endpoints)

        assert list(list_objects(bucket.name, "")) == [PLAIN_KEY]
        assert fetcher().fetch(bucket.uri(PLAIN_KEY)) == BODY
        assert len(proxy.heads) == 2


@pytest.mark.parametrize(
    ("bucket_name", "variables", "style", "host"),
    [
        ("photos", {}, "auto", "photos.s3.eu-west-1.amazonaws.com"),
        ("photos.with.dots", {}, "auto", "s3.eu-west-1.amazonaws.com"),
        ("Old_Photos", {}, "auto", "s3.eu-west-1.amazonaws.com"),
        ("photos", {}, "path", "s3.eu-west-1.amazonaws.com"),
        ("photos", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "auto", "photos.s3.dualstack.eu-west-1.amazonaws.com"),
        (
            "photos",
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_REGION": "us-west-2"},
            "virtual",
            "photos.s3-fips.us-west-2.amazonaws.com",
        ),
        ("photos", {"AWS_REGION": "cn-north-1"}, "auto", "photos.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_clients_and_workers_ask_the_same_host_of_amazon_through_the_proxy(
    *,
    bucket_name: str,
    variables: dict[str, str],
    style: str,
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clear(monkeypatch)
    config = write_profile(tmp_path, f"[default]\nregion = eu-west-1\ns3 =\n  addressing_style = {style}\n")
    with serving(lambda connection: connection.answer("403 Forbidden", b""), monkeypatch) as server:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        set_all(monkeypatch, {"AWS_CONFIG_FILE": config, "HTTPS_PROXY": server.netloc} | variables)
        with pytest.raises(SourceError):
            list_objects(bucket_name, "")
        by_clients = {request.removesuffix(" HTTP/1.0\r\n") for request in server.requests}
        server.requests.clear()
        with pytest.raises(FiqaError):
            fetcher().fetch(f"s3://{bucket_name}/{PLAIN_KEY}")

        by_workers = {request.removesuffix(" HTTP/1.1\r\n") for request in server.requests}
        assert by_clients == by_workers == {f"CONNECT {host}:443"}


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "localhost,127.0.0.1:{port}"])
def test_no_proxy_has_the_same_effect_for_clients_and_workers(
    no_proxy: str, bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(PLAIN_KEY, BODY)
    clear(monkeypatch)
    with proxied(s3) as (proxy, url):
        no_proxy = no_proxy.format(port=proxy.port)
        set_all(
            monkeypatch,
            keys_of(s3) | {"AWS_ENDPOINT_URL": url, "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": no_proxy},
        )
        set_all(monkeypatch, {"http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})

        assert list(list_objects(bucket.name, "")) == [PLAIN_KEY]
        assert fetcher().fetch(bucket.uri(PLAIN_KEY)) == BODY


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_requester_pays_is_sent_in_every_request(
    key: str, bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key, BODY)
    clear(monkeypatch)
    with proxied(s3) as (proxy, url):
        set_all(monkeypatch, keys_of(s3) | {"AWS_ENDPOINT_URL": url, "FIQA_S3_REQUESTER_PAYS": "true"})
        assert list(list_objects(bucket.name, "")) == [key]
        assert fetcher().fetch(bucket.uri(key)) == BODY
        assert [b"x-amz-request-payer: requester" in head.lower() for head in proxy.heads] == [True] * 2


@pytest.mark.parametrize("key", [PLAIN_KEY, ODD_KEY])
def test_anonymous_access_signs_nothing_and_needs_no_credentials(
    key: str, bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket.name}/*"]}
    statement["Resource"] = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    bucket.client.put_bucket_policy(
        Bucket=bucket.name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    bucket.put(key, BODY)
    clear(monkeypatch)
    with proxied(s3) as (proxy, url):
        set_all(monkeypatch, {"AWS_ENDPOINT_URL": url, "FIQA_S3_ANONYMOUS": "1"})
        assert list(list_objects(bucket.name, "")) == [key]
        assert fetcher().fetch(bucket.uri(key)) == BODY
        assert not [head for head in proxy.heads if b"authorization" in head.lower()]


def test_a_server_that_redirects_everything_ends_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)
    with serving(lambda connection: connection.answer("301 Moved Permanently", b""), monkeypatch):
        with pytest.raises(SourceError, match=r"another region: set AWS_REGION to that one$"):
            list_objects("photos", "")
        for key in (PLAIN_KEY, ODD_KEY):
            with pytest.raises(SourceUnavailable, match=r"another region: set AWS_REGION to that one$"):
                fetcher().fetch(f"s3://photos/{key}")
