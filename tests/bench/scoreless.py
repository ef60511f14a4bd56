"""A `fiqa worker` that fetches and scores nothing: every image ends as no_face after FIQA_BENCH_IMAGE_MS.

Run it with `python -m tests.bench.scoreless worker`. Tickets, claims, leases, shards and counts are real.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence

from fiqa.cli.main import main
from fiqa.contract import ErrorCode, ImageResult, Item, JobOptions, Status
from fiqa_worker.pipeline import pipeline
from fiqa_worker.pipeline.identity import Identity
from fiqa_worker.pipeline.watch import Watch
from fiqa_worker.settings import WorkerSettings


class Scoreless:
    """Takes the place of the pipeline."""

    identity = Identity("none", "none", "none", "none")

    def __init__(self, image_s: float) -> None:
        self._image_s = image_s

    @classmethod
    def load(cls, settings: WorkerSettings) -> Scoreless:
        del settings
        return cls(float(os.environ.get("FIQA_BENCH_IMAGE_MS", "0")) / 1000)

    def run(
        self,
        items: Sequence[Item],
        *,
        quarantined: Mapping[int, ErrorCode],
        watch: Watch,
        isolated: bool = False,
        options: JobOptions,
    ) -> Iterator[ImageResult]:
        del quarantined, watch, isolated, options
        for item in items:
            if self._image_s:
                time.sleep(self._image_s)
            yield ImageResult(uri=item.uri, id=item.id, status=Status.NO_FACE, detector="none", quality_model="none")


# The children of the pool import this module as __mp_main__.
if __name__ in {"__main__", "__mp_main__"}:
    setattr(pipeline, "Pipeline", Scoreless)  # noqa: B010  for mypy it is another class
if __name__ == "__main__":
    main()
