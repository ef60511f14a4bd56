"""One machine more that fails every image: S3 refuses it, or it may not read the images."""

from __future__ import annotations

import pytest

from tests.faults.short import BAD_MACHINES, MARKS, injure
from tests.faults.system import System
from tests.faults.trial import Log

pytestmark = MARKS


@pytest.mark.parametrize("names", BAD_MACHINES, ids="+".join)
def test_every_image_ends_as_one_result_and_nothing_is_left(names: tuple[str, ...], system: System, log: Log) -> None:
    injure(names, system, log)
