"""Fixtures of real servers: each starts when the first test asks for it and is gone at the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import redis

from fiqa.ledger.ledger import Ledger
from tests.servers import RedisServer, S3Server, start_redis, start_s3

SERVERS = pytest.StashKey[dict[str, str]]()


@dataclass(frozen=True)
class Bucket:
    name: str
    client: Any

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, body: bytes) -> str:
        """Store an object; returns its URI."""
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return self.uri(key)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = {}
    # A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for kind, name in config.stash[SERVERS].items():
        terminalreporter.write_line(f"{kind} of these tests: {name}")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        pytestconfig.stash[SERVERS]["Redis"] = server.name
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database."""
    with closing(redis.Redis.from_url(redis_server.url)) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    """What Redis knows of jobs, as workers and clients see it; empty."""
    with closing(Ledger(redis_url)) as ledger:
        yield ledger


@pytest.fixture(scope="session")
def s3(pytestconfig: pytest.Config) -> Iterator[S3Server]:
    with start_s3() as server:
        pytestconfig.stash[SERVERS]["S3"] = server.name
        yield server


@pytest.fixture(scope="session")
def _s3_client(s3: S3Server) -> Iterator[Any]:
    with closing(s3.client()) as client:
        yield client


@pytest.fixture
def bucket(_s3_client: Any) -> Bucket:
    """A new, empty bucket."""
    name = f"test-{uuid4().hex}"
    _s3_client.create_bucket(Bucket=name)
    return Bucket(name, _s3_client)


@pytest.fixture
def s3_env(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's own settings lead to the test server, in this process and in those that it starts."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
