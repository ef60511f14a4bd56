"""The environment of S3 in tests of its settings: nothing of the developer, and a proxy that sees each request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import S3Proxy
from tests.servers import S3Server


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings of S3. There are no credentials, also not from a metadata service."""
    proxies = {"http_proxy", "https_proxy", "no_proxy", "all_proxy"}
    authorities = {"REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}
    for name in list(os.environ):
        if name.startswith(("AWS_", "FIQA_")) or name in authorities or name.lower() in proxies:
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def keys_of(s3: S3Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}


def write_profile(folder: Path, text: str) -> str:
    """Write a file of profiles; returns its path, for AWS_CONFIG_FILE."""
    path = folder / "aws-config"
    path.write_text(text)
    return str(path)


@contextmanager
def proxied(s3: S3Server) -> Iterator[tuple[S3Proxy, str]]:
    """Start a proxy in front of S3. Yield it and its URL."""
    proxy = S3Proxy(urlsplit(s3.endpoint).port or 80, seed=1)
    proxy.start()
    try:
        yield proxy, f"http://127.0.0.1:{proxy.port}"
    finally:
        proxy.stop()
