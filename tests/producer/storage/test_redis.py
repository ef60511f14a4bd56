from __future__ import annotations

import pytest

from fiqa.errors import RedisUnavailableError
from fiqa.ledger.connection import Connection
from fiqa.storage.storage import open_storage
from tests.producer.storage.jobs import JOB


def test_the_error_for_a_redis_that_is_down_is_one_line(nowhere: Connection) -> None:
    storage = open_storage("redis", nowhere)
    for act in (lambda: storage.write_once(JOB, "results", 0, b"x"), lambda: storage.read(JOB, "results", 0)):
        with pytest.raises(RedisUnavailableError, match=r"^cannot reach Redis at redis://127\.0\.0\.1:1/0 [^\n]+$"):
            act()
