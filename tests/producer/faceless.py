"""A worker without models: it claims, stores and counts chunks, and each image ends as the test says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from fiqa.contract import ErrorCode, ImageError, ImageResult, Item, Status
from fiqa.ledger.claims import Counts
from fiqa.ledger.ledger import Ledger
from fiqa.storage.shards import read_items, store_results
from fiqa.storage.storage import open_storage


def no_face(item: Item) -> ImageResult:
    return ImageResult(
        uri=item.uri, id=item.id, version=item.version, status=Status.NO_FACE, detector="d", quality_model="q"
    )


def failed(item: Item, code: ErrorCode) -> ImageResult:
    error = ImageError(code=code, message=f"it is {code}")
    return no_face(item).model_copy(update={"status": Status.FAILED, "error": error})


def work(ledger: Ledger, chunks: int | None = None, end: Callable[[Item], ImageResult] = no_face) -> None:
    """Do what a worker does, with so many chunks or with all that are due."""
    for claim in islice(iter(ledger.claim, None), chunks):
        storage = open_storage(claim.storage, ledger.connection)
        items = read_items(storage, claim.job_id, claim.chunk, claim.size)
        results = store_results(storage, claim.job_id, claim.chunk, [end(item) for item in items])
        ledger.complete(claim.job_id, claim.chunk, Counts.of(results))
