"""`fiqa worker` with one more step in its pipeline: a file that begins with a mark kills, hangs, or raises.

With FIQA_TEST_HOST its machine has that name. Run as `python -m tests.integration.planted worker`.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any, Final

from fiqa_worker.service.drain import SIGNALS

if __name__ == "__mp_main__":
    # In a child of the pool: block the signals before the imports below start threads, as a real worker does.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


from fiqa.cli.main import main
from fiqa_worker.pipeline import decode as images
from fiqa_worker.pipeline import pipeline

KILLS: Final = b"fiqa test: kills"
HANGS: Final = b"fiqa test: hangs"
RAISES: Final = b"fiqa test: raises"


def decode_reduced(data: bytes, **options: Any) -> images.DecodedImage:
    if data.startswith(KILLS):
        os.kill(os.getpid(), signal.SIGKILL)
    if data.startswith(HANGS):
        threading.Event().wait()
    if data.startswith(RAISES):
        raise RuntimeError("planted")
    return images.decode_reduced(data, **options)


# In the children of the pool this module has the second name.
if __name__ in {"__main__", "__mp_main__"}:
    if "FIQA_TEST_HOST" in os.environ:
        socket.gethostname = lambda: os.environ["FIQA_TEST_HOST"]
    setattr(pipeline, "decode_reduced", decode_reduced)  # noqa: B010  mypy does not see this attribute of the module
if __name__ == "__main__":
    main()
