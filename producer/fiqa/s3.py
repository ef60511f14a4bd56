"""S3: one place that decides region, endpoint, credentials, certificates and addressing, for clients and workers.

The order is that of the AWS SDKs' documentation. botocore itself decides the endpoint (AWS_ENDPOINT_URL_S3,
AWS_ENDPOINT_URL, the profile), the credentials, dual-stack and FIPS, and the style of addresses.

botocore is loaded when the first client is made. It takes 0.1 s, and a producer whose storage is Redis or a folder does
not need it.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from fiqa.errors import SettingsError
from fiqa.settings import Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader
    from botocore.session import Session

# Wider than Amazon's rules: other servers, and old buckets of Amazon, allow capitals, underscores and 255 characters.
BUCKET_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}")

_CHECK: Final = "check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL"
_REQUESTER_PAYS: Final = ("x-amz-request-payer", "requester")


class BucketAddress(NamedTuple):
    """Where a client sends the requests for one bucket.

    Attributes:
        url: the URL of the bucket, without a slash at its end.
        in_host: the name of the bucket is in the host name, not in the path.
        region: the region for the signature.
    """

    url: str
    in_host: bool
    region: str


def s3_client(
    *,
    for_images: bool = False,
    session: Session | None = None,
    connect_timeout_s: float = 5,
    read_timeout_s: float = 30,
    tries: int = 5,
) -> BaseClient:
    """Make an S3 client. Threads may share it.

    If a bucket is in another region and the server says in which one, the client sends its requests there.

    Args:
        for_images: the client only reads or lists images, so FIQA_S3_ANONYMOUS applies to it.
        session: a session of `s3_session`. None: a new one.
        connect_timeout_s: the limit for one try.
        read_timeout_s: the same.
        tries: how often a failing request is sent.

    Raises:
        SettingsError: the settings of S3 are wrong, or the credentials cannot be fetched.
    """
    from botocore import UNSIGNED  # noqa: PLC0415  loaded when used
    from botocore.config import Config  # noqa: PLC0415  loaded when used

    settings = Settings.load()
    config = Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=32,
        signature_version=UNSIGNED if for_images and settings.s3_anonymous else None,
    )
    try:
        session = session or s3_session()
        client: BaseClient = session.create_client("s3", config=config, verify=_ca_file(session))
        ca_bundle(session, client)
    except Exception as error:  # files, commands and services of credentials may fail in any way
        raise SettingsError(_wrong(error)) from error
    if settings.s3_requester_pays:
        client.meta.events.register("before-call.s3", _requester_pays)
    client.meta.events.register("before-call.s3.HeadBucket", _do_not_follow)
    client.meta.events.register_last("before-call.s3", _catch_address)
    return client


def _wrong(error: Exception) -> str:
    text = " ".join(str(error).split())
    endpoint = text.removeprefix("Invalid endpoint: ")
    if endpoint != text:
        return f"S3: {endpoint!r} is not a URL: AWS_ENDPOINT_URL and the profile need http:// or https:// and a host"
    return f"S3: {text}: {_CHECK}"


def s3_session() -> Session:
    """Make a botocore session: threads cannot make clients of a shared session.

    AWS_REGION comes before AWS_DEFAULT_REGION, and AWS_PROFILE before AWS_DEFAULT_PROFILE: botocore does not know
    AWS_REGION, and reads the two profile variables in the other order. An empty variable counts as unset. All sessions
    share botocore's description of S3, which takes 12 MB.
    """
    from botocore.configprovider import ConfigChainFactory  # noqa: PLC0415  loaded when used
    from botocore.session import get_session  # noqa: PLC0415  loaded when used

    # botocore reads the environment in a dozen places. In half of them, an empty variable does not count as unset.
    for name in [name for name, value in os.environ.copy().items() if not value.strip() and _is_of_s3(name)]:
        os.environ.pop(name, None)
    session = get_session()
    chains, store = ConfigChainFactory(session), session.get_component("config_store")
    for name, in_profile in (("REGION", "region"), ("PROFILE", None)):
        chain = chains.create_config_chain(
            instance_name=name.lower(),
            env_var_names=[f"AWS_{name}", f"AWS_DEFAULT_{name}"],
            config_property_names=in_profile,
        )
        store.set_config_provider(name.lower(), chain)
    loader = _loader()
    session.register_component("data_loader", loader)
    return session


def _is_of_s3(variable: str) -> bool:
    return variable.startswith("AWS_") or variable in {"REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}


@cache
def _loader() -> Loader:
    from botocore.session import get_session  # noqa: PLC0415  loaded when used

    loader: Loader = get_session().get_component("data_loader")
    return loader


def ca_bundle(session: Session, client: BaseClient) -> Path | None:
    """Return the file with the certificate authorities of a client.

    None: there is no such file, so the default authorities are trusted; or the endpoint is not https.

    Raises:
        ValueError: the file cannot be read, or holds no certificate.
    """
    file = _ca_file(session)
    if not file or urlsplit(client.meta.endpoint_url).scheme != "https":
        return None
    try:
        # botocore would report it at the first request only, and then with an unclear TLS error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise ValueError(f"{file} holds no certificate: AWS_CA_BUNDLE needs a file in PEM format") from None
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}: AWS_CA_BUNDLE needs a file of certificates") from None
    return Path(file)


def _ca_file(session: Session) -> str | None:
    """Return AWS_CA_BUNDLE, ca_bundle of the profile, REQUESTS_CA_BUNDLE or SSL_CERT_FILE.

    botocore does not know the last one, and obstore adds it to its own authorities by itself.
    """
    names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    return session.get_config_variable("ca_bundle") or next((os.environ[n] for n in names if os.environ.get(n)), None)


def proxy_of(url: str) -> str | None:
    """Return the proxy for a URL, from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as botocore reads them."""
    from botocore.utils import get_environ_proxies  # noqa: PLC0415  loaded when used

    proxy = get_environ_proxies(url).get(urlsplit(url).scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


_caught = threading.local()


def bucket_address(client: BaseClient, bucket: str) -> BucketAddress:
    """Return where a client of `s3_client` sends the requests for a bucket.

    Nothing is sent: the request is caught after botocore's rules have made its URL. If the client has followed the
    bucket to another region, the address is in that region.

    Raises:
        BotoCoreError: the rules refuse the bucket.
    """
    _caught.request = None
    try:
        client.get_object(Bucket=bucket, Key="x")
        url, signing = _caught.request
    finally:
        del _caught.request
    url = url.removesuffix("/x")
    in_host = not urlsplit(url).path.endswith(f"/{bucket}")
    return BucketAddress(url, in_host, signing.get("region") or client.meta.region_name)


def _catch_address(params: dict[str, Any], context: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]] | None:
    if not hasattr(_caught, "request"):
        return None
    _caught.request = params["url"], context.get("signing") or {}
    return SimpleNamespace(status_code=200), {}  # botocore uses this as the answer, and sends nothing


def follow_bucket(client: BaseClient, bucket: str) -> None:
    """Let a client find the region of a bucket, if the server names it. `bucket_address` has the region then.

    Raises:
        BotoCoreError: no answer.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415  loaded when used

    with suppress(ClientError):  # any request does: botocore learns the region from its answer, or asks for it
        client.head_object(Bucket=bucket, Key="x")


def _do_not_follow(context: dict[str, Any], **_: Any) -> None:
    # botocore asks HeadBucket for a bucket's region. If that is redirected too, and no answer names the region, it
    # would ask again until Python's stack is full.
    context.setdefault("s3_redirect", {})["redirected"] = True


def _requester_pays(params: dict[str, Any], **_: Any) -> None:
    name, value = _REQUESTER_PAYS
    params["headers"][name] = value
