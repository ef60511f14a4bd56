from __future__ import annotations

import pytest

from fiqa_worker.errors import ModelError
from fiqa_worker.models.download import DownloadFailed, from_mirror, over_https
from tests.conftest import Bucket
from tests.worker.models.https import CONTENT


def test_a_file_is_read_in_blocks_and_each_is_reported(server: str) -> None:
    seen: list[int] = []
    data = over_https(f"{server}/model.onnx", max_bytes=len(CONTENT), timeout_s=10, progress=seen.append)
    assert data == CONTENT
    assert seen == sorted(seen)
    assert (len(seen) > 1, seen[-1]) == (True, len(CONTENT))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("missing", "^HTTP Error 404: Not Found$"),
        ("long.onnx", f"^sends more than the {len(CONTENT):,} bytes of the pinned file$"),
        ("plain", "^<urlopen error unknown url type: http>$|^unknown url type: http$"),
    ],
)
def test_an_answer_that_is_not_the_file_has_a_reason(server: str, path: str, why: str) -> None:
    with pytest.raises(DownloadFailed, match=why):
        over_https(f"{server}/{path}", max_bytes=len(CONTENT), timeout_s=10)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a", "ftp://127.0.0.1:9/a", "file:///etc/passwd", "data:,x"])
def test_nothing_but_https_is_read(url: str) -> None:
    with pytest.raises(DownloadFailed, match="unknown url type"):
        over_https(url, max_bytes=100, timeout_s=1)


@pytest.mark.usefixtures("s3_env")
def test_a_mirror_may_lack_a_file_and_a_longer_one_is_not_read_to_its_end(bucket: Bucket) -> None:
    assert from_mirror(bucket.uri("models"), "a.onnx", max_bytes=10) is None
    bucket.put("models/a.onnx", bytes(100))
    for mirror in (bucket.uri("models"), bucket.uri("models/")):
        assert from_mirror(mirror, "a.onnx", max_bytes=10) == bytes(11)
    with pytest.raises(ModelError, match=rf"^cannot read s3://{bucket.name}-no/a\.onnx: no such bucket"):
        from_mirror(f"s3://{bucket.name}-no", "a.onnx", max_bytes=10)
