from __future__ import annotations

import pytest

from fiqa.s3 import BUCKET_NAME


@pytest.mark.parametrize("name", ["abc", "my-images.2026", "Old_Bucket", "a1", "x" * 255])
def test_the_name_of_a_bucket(name: str) -> None:
    assert BUCKET_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "a", "-abc", "a b", "a/b", "s3://a", "ä-bucket", "x" * 256, "abc\n"])
def test_what_cannot_be_the_name_of_a_bucket(name: str) -> None:
    assert not BUCKET_NAME.fullmatch(name)
