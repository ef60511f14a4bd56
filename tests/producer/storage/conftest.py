from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fiqa.contract import JobSpec
from fiqa.ledger.connection import Connection
from fiqa.ledger.ledger import Ledger
from fiqa.storage.storage import Storage, open_storage
from tests.producer.storage.jobs import JOB, OTHER_JOB

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def nowhere() -> Iterator[Connection]:
    """A connection for storages that do not use it."""
    with closing(Connection(NOWHERE)) as connection:
        yield connection


@pytest.fixture(params=["redis", "folder", "s3", "s3 prefix"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "redis":
        ledger: Ledger = request.getfixturevalue("ledger")
        # A storage in Redis takes no results of a job that the ledger does not know.
        for job_id in (JOB, OTHER_JOB):
            ledger.create(JobSpec(id=job_id, created=0), storage="redis")
        return open_storage("redis", ledger.connection)
    nowhere: Connection = request.getfixturevalue("nowhere")
    if request.param == "folder":
        return open_storage(str(tmp_path / "made/when needed"), nowhere)
    request.getfixturevalue("s3_env")
    bucket = request.getfixturevalue("bucket")
    return open_storage(bucket.uri("a team's/jobs/" if request.param == "s3 prefix" else ""), nowhere)
