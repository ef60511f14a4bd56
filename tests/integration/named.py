"""`fiqa worker` on a machine of another name: FIQA_TEST_HOST. Run it as `python -m tests.integration.named worker`."""

from __future__ import annotations

import os
import signal
import socket

from fiqa_worker.service.drain import SIGNALS

if __name__ == "__mp_main__":
    # A child of the pool: as in a worker's own, before any thread starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

from fiqa.cli.main import main

if __name__ in {"__main__", "__mp_main__"}:
    socket.gethostname = lambda: os.environ["FIQA_TEST_HOST"]
if __name__ == "__main__":
    main()
