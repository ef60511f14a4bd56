"""A short way to make a fetcher, and objects for it, for tests."""

from __future__ import annotations

from fiqa_worker.pipeline.fetch import Fetcher

BODY = b"\xff\xd8 the bytes of a photo"
LARGE_BODY = b"\xff\xd8" + bytes(range(251)) * 13_001  # not a multiple of a page or a part
PLAIN_KEY = "photo.jpg"
ODD_KEY = "a//photo.jpg"  # one that obstore refuses, so that boto3 reads it


def fetcher(*allowed: str, max_bytes: int = 10_000_000, timeout_s: float = 10.0, patience_s: float = 0.0) -> Fetcher:
    return Fetcher(allowed or ("s3://",), max_bytes=max_bytes, timeout_s=timeout_s, patience_s=patience_s)
