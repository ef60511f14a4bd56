from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from fiqa.cli.output import write_results
from fiqa.errors import OutputError


def test_results_that_cannot_be_written_are_read_no_further() -> None:
    def read() -> Generator[list[bytes], None, None]:
        yield [b"1"]
        yield [b"2"]

    shards = read()
    with pytest.raises(OutputError, match=r"^cannot write /dev/full: No space left on device$"):
        write_results(Path("/dev/full"), shards)
    assert next(shards, None) is None  # it is closed
