"""Runs `fiqa` in a new process, with its own streams, environment and exit status, and without 0.3 s of imports.

    python -m tests.fiqa_process SOCKET

is a process that has imported the commands and does nothing else. For each run it forks, and the child calls `main`.
One such process serves all runs of a test process. Tests about imports, signals or the encoding of streams start
`python -m fiqa` themselves.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Final, NoReturn

Run = subprocess.CompletedProcess[str]
Fiqa = Callable[..., Run]
BUILTIN: Final = {"FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality"}
# Such as "1 images". A point or a comma before it belongs to another number.
_ONE_IS_PLURAL: Final = re.compile(r"(?<![\d.,:/-])\b1 (?!has\b|is\b|was\b)[a-z]+s\b")
TIMEOUT_S: Final = 200  # a run takes 11 s of processor time at most; other programs may take most of the machine
_REQUEST_BYTES: Final = 200_000
_ALSO: Final = (
    *("boto3", "fiqa.client", "jinja2"),
    *("encodings.idna", "importlib.resources.readers", "unicodedata"),  # imported at the first connection
)


def run_fiqa(*arguments: str | Path, environment: Mapping[str, str], cwd: Path | None = None, stdin: str = "") -> Run:
    """Run a command to its end. Whatever happens, there must be no traceback, and nothing like "1 images".

    Args:
        arguments: as on a command line, without `fiqa`.
        environment: all of its variables.
        cwd: its working folder; None for that of the tests.
        stdin: the text that it reads.
    """
    command = list(map(str, arguments))
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        status = _run(command, dict(environment), cwd or Path.cwd(), (given, out, err))
        done = Run(["fiqa", *command], status, _text(out), _text(err))
    assert "Traceback" not in done.stdout + done.stderr
    assert not _ONE_IS_PLURAL.search(done.stderr), done.stderr
    return done


def one_line(done: Run) -> str:
    (line,) = done.stderr.splitlines()
    return line


def _run(command: list[str], environment: dict[str, str], cwd: Path, streams: tuple[IO[bytes], ...]) -> int:
    request = json.dumps([command, environment, str(cwd)]).encode("utf-8", "surrogateescape")
    server = _server()
    socket.send_fds(server, [request], [stream.fileno() for stream in streams])
    pid = int(server.recv(100))
    try:
        return int(server.recv(100))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        server.recv(100)
        raise


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "surrogateescape").replace("\r\n", "\n")


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(TIMEOUT_S)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fiqa_process", str(theirs.fileno())],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # Ctrl-C must end the tests first
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(number: int) -> None:
    commands = import_module("fiqa.cli.main").COMMANDS  # not at the top: the tests import this module too
    for module in (*(place.partition(":")[0] for place, _ in commands.values()), *_ALSO):
        import_module(module)
    gc.freeze()  # a collection in a child would copy all pages
    with socket.socket(fileno=number) as requests:
        while True:
            request, streams, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 3)
            if not request:
                return
            pid = os.fork()
            if not pid:
                requests.close()
                _become_fiqa(request, streams)
            for stream in streams:
                os.close(stream)
            requests.send(b"%d" % pid)
            _, status = os.waitpid(pid, 0)
            requests.send(b"%d" % os.waitstatus_to_exitcode(status))


def _become_fiqa(request: bytes, streams: list[int]) -> NoReturn:
    from fiqa.cli.main import main  # noqa: PLC0415

    command, environment, cwd = json.loads(request)
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["fiqa", *command]
    status: str | int | None = 1
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001  what the interpreter does with it
        traceback.print_exc()
    # The interpreter's own end would copy and free all that was imported, for 0.1 s.
    atexit._run_exitfuncs()  # noqa: SLF001  it has no public name
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status or 0))


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
