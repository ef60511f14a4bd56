from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.short import SEED
from tests.faults.system import System, start_system
from tests.faults.trial import Log
from tests.servers import S3Server


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[System]:
    with start_system(tmp_path_factory.mktemp("faults"), s3, SEED) as system:
        yield system


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log(tmp_path_factory.getbasetemp() / "faults.jsonl", SEED)
