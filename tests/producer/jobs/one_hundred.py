"""A job of a hundred images, and the storages that the tests of jobs run on."""

from __future__ import annotations

import pytest

from fiqa.client import Client
from fiqa.storage.storage import open_storage
from tests.ledger_of import ledger_of
from tests.waiting import wait_until

URIS = [f"s3://images/{number}.jpg" for number in range(100)]

in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)
in_redis = pytest.mark.parametrize("storage", ["redis"], indirect=True)
outside_redis = pytest.mark.parametrize("storage", ["folder", "s3"], indirect=True)


def wait_until_written(client: Client, chunks: int) -> None:
    """Wait until the manifest of the only job has so many chunks."""
    (status,) = client.jobs()
    storage = open_storage(status.storage, ledger_of(client).connection)
    wait_until(lambda: len(storage.chunks(status.id, "manifest")) == chunks)
