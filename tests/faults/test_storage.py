"""An S3 that answers badly or not at all, a full disk, and workers whose clock S3 refuses."""

from __future__ import annotations

import pytest

from tests.faults.short import MARKS, STORAGE, injure
from tests.faults.system import System
from tests.faults.trial import Log

pytestmark = MARKS


@pytest.mark.parametrize("names", STORAGE, ids="+".join)
def test_every_image_ends_as_one_result_and_nothing_is_left(names: tuple[str, ...], system: System, log: Log) -> None:
    injure(names, system, log)
