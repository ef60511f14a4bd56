"""Whom fiqa's processes talk to, seen by the kernel: onnxruntime's own threads are not seen by Python."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from fiqa import Client
from tests.conftest import Bucket
from tests.fiqa_process import BUILTIN
from tests.servers import S3Server
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import ROOT

# onnxruntime's telemetry looks up its host 9 s after the import, and again every 5 s.
LIBRARY: Final = """
import sys, time
from pathlib import Path
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.settings import WorkerSettings
from fiqa.contract import Item
pipeline = Pipeline.load(WorkerSettings(allowed_sources=("file:///",)))
item = Item(uri=Path(sys.argv[1]).as_uri())
(result,) = pipeline.run([item], quarantined={}, isolated=True)
print(result.status, flush=True)
time.sleep(12)
"""
LOOKS_UP: Final = (
    "import socket, threading\nthreading.Thread(target=socket.getaddrinfo, args=('fiqa.invalid', 80)).start()"
)
_INTERNET: Final = re.compile(
    r'sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\("([^"]*)"|inet_pton\(AF_INET6, "([^"]*)")'
)
_LOCAL: Final = re.compile(r'sa_family=AF_UNIX, sun_path="([^"]*)"')

Start = Callable[..., "Watched"]


class Watched:
    """A process, and the addresses that it and its children send to."""

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir()
        self.folder = folder
        self._trace = folder / "trace"
        strace = ["strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*strace, "-o", str(self._trace), sys.executable, *arguments],
                env={
                    **{name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"},
                    **BUILTIN,
                    "HOME": str(folder / "home"),
                    "XDG_CACHE_HOME": str(folder / "cache"),
                    **environment,
                },
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def addresses(self) -> set[tuple[str, int]]:
        """Wait for the end of the process; return the hosts and ports of internet sockets that it sent to."""
        assert self.process.wait(WAIT_S) == 0, self.output
        ended = re.compile(rf"^{self.process.pid} +\+\+\+ exited", re.MULTILINE)
        wait_until(lambda: ended.search(self._trace.read_text()))
        found = (_INTERNET.search(line) for line in self._trace.read_text().splitlines())
        return {(match[2] or match[3], int(match[1])) for match in found if match}

    def sockets(self) -> set[str]:
        """Return the paths of the local sockets that it connected to."""
        return set(_LOCAL.findall(self._trace.read_text()))

    def files(self) -> set[str]:
        """Return the names of what it wrote to the home folder and to the cache."""
        return {path.name for top in ("home", "cache") for path in (self.folder / top).rglob("*") if path.is_file()}


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Start]:
    """Starts Python under strace. The processes that still run at the end are killed."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    started: list[Watched] = []

    def start(name: str, *arguments: str, **environment: str) -> Watched:
        started.append(Watched(list(arguments), tmp_path / name, environment))
        return started[-1]

    yield start
    for watched in started:
        if watched.process.poll() is None:
            os.killpg(watched.process.pid, signal.SIGKILL)
            watched.process.wait()


@pytest.mark.usefixtures("s3_env")
def test_processes_talk_to_redis_and_s3_and_to_nobody_else(
    watch: Start, redis_url: str, s3: S3Server, bucket: Bucket, photos: Path
) -> None:
    image = photos / "original-0.jpg"
    uri = bucket.put("original.jpg", image.read_bytes())
    library = watch("library", "-c", LIBRARY, str(image))
    storage = f"s3://{bucket.name}/jobs"
    worker = watch("worker", "-m", "fiqa", "worker", FIQA_REDIS_URL=redis_url, FIQA_STORAGE=storage)
    score = watch("score", "-m", "fiqa", "score", str(image))
    run = watch("run", "-m", "fiqa", "run", str(image), uri)

    redis_at, s3_at = (("127.0.0.1", urlsplit(url).port or 0) for url in (redis_url, s3.endpoint))
    assert library.addresses() == set(), library.output
    assert score.addresses() == set()
    assert run.addresses() == {s3_at}
    with Client(redis_url, storage) as client:
        job = client.submit([uri])
        assert client.wait(job.id, WAIT_S).scored == 1, worker.output
    worker.process.send_signal(signal.SIGTERM)
    assert worker.addresses() == {redis_at, s3_at}
    for process in (library, worker, score, run):
        assert not [path for path in process.sockets() if "resolve" in path]
        assert {Path(name).suffix for name in process.files()} == {".onnx"}, process.files()  # no device id


def test_a_look_up_in_a_thread_is_seen(watch: Start) -> None:
    assert {port for _, port in watch("looks_up", "-c", LOOKS_UP).addresses()} == {53}
