from __future__ import annotations

from collections.abc import Iterator

import pytest

from fiqa.client import Client


@pytest.fixture(params=["redis", "folder", "s3"])
def storage(request: pytest.FixtureRequest) -> str:
    if request.param == "folder":
        return str(request.getfixturevalue("tmp_path") / "storage")
    if request.param == "s3":
        request.getfixturevalue("s3_env")
        return str(request.getfixturevalue("bucket").uri("fiqa"))
    return "redis"


@pytest.fixture
def client(redis_url: str, storage: str) -> Iterator[Client]:
    with Client(redis_url, storage) as client:
        yield client
