"""A client whose jobs are stored in Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fiqa.client import Client


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url, storage="redis") as client:
        yield client
