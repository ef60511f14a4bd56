"""A `fiqa worker` that fetches and scores nothing: each image that was read ends as no_face after FIQA_BENCH_IMAGE_MS.

Its machine has the name FIQA_BENCH_HOST. Run it with `python -m tests.bench.fetch_only worker`.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

from fiqa_worker.service.drain import SIGNALS

if __name__ == "__mp_main__":
    # A child of the pool: as in a worker's own, before any thread starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

from fiqa.cli.main import main
from fiqa_worker.pipeline.pipeline import Pipeline


def _open(_: Pipeline, image: Any) -> Any:
    if not image.failure:
        time.sleep(float(os.environ["FIQA_BENCH_IMAGE_MS"]) / 1000)
    return image


def _score(_: Pipeline, images: Sequence[Any]) -> None:
    del images


# The children of the pool import this module as __mp_main__.
if __name__ in {"__main__", "__mp_main__"}:
    setattr(Pipeline, "_open", _open)  # noqa: B010  for mypy it is another method
    setattr(Pipeline, "_score", _score)  # noqa: B010  the same
    socket.gethostname = lambda: os.environ["FIQA_BENCH_HOST"]
if __name__ == "__main__":
    main()
