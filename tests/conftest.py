"""Fixtures of real servers, and how the tests run side by side.

Most tests wait: for a lease to expire, a worker to start, a server to come back. So pytest-xdist runs several files at
once, more than there are cores. Each process starts its own Redis. All of them share one S3, and each test has its own
bucket.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import redis
from xdist.workermanage import WorkerController

from fiqa.ledger.ledger import Ledger
from fiqa_worker.demo.photos import make_photos
from tests.fiqa_process import BUILTIN, Fiqa, Run, run_fiqa
from tests.servers import RedisServer, S3Server, start_redis, start_s3

SERVERS = pytest.StashKey[dict[str, str]]()
SHARED_S3 = pytest.StashKey[S3Server]()
TESTS: Final = Path(__file__).parent
PROCESSES_A_CORE: Final = 3
SHORT_FILES_A_PROCESS: Final = 8
# The files that take longest start first. Otherwise one of them would run alone at the end.
LONGEST_FIRST: Final = (
    "integration/test_refusals.py",
    "test_bench.py",
    "faults/",
    "worker/cli/test_run.py",
    "integration/test_operation.py",
    "integration/test_jobs.py",
    "integration/test_security.py",
    "integration/",
    "hostile/",
    "producer/cli/",
)


@dataclass(frozen=True)
class Bucket:
    name: str
    client: Any

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, body: bytes) -> str:
        """Store an object; returns its URI."""
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return self.uri(key)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = {}
    # The tests start hundreds of processes. Without bytecode, each of them compiles fiqa again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # A shell that runs the tests in the background makes them ignore Ctrl-C, and their processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for kind, name in config.stash[SERVERS].items():
        terminalreporter.write_line(f"{kind} of these tests: {name}")


# Side by side: -n auto in pyproject.toml asks these hooks. The first four run in the process that was started by hand.


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `-n auto` means. None for a choice by name or a few files: one process starts sooner."""
    if config.option.keyword or config.option.lf:
        return 0
    files = {file for argument in config.args for file in _test_files(Path(argument.partition("::")[0]))}
    long = sum(_rank(file) < len(LONGEST_FIRST) for file in files)
    useful = long + (len(files) - long) // SHORT_FILES_A_PROCESS
    return min(useful, PROCESSES_A_CORE * len(os.sched_getaffinity(0))) if useful > 1 else 0


def _test_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    servers = ExitStack()
    config.add_cleanup(servers.close)
    config.stash[SHARED_S3] = servers.enter_context(start_s3())


def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["s3"] = asdict(node.config.stash[SHARED_S3])


def pytest_testnodedown(node: WorkerController) -> None:
    node.config.stash[SERVERS] |= getattr(node, "workeroutput", {}).get("servers", {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = session.config.stash[SERVERS]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(item.path))


def _rank(file: Path) -> int:
    name = os.path.relpath(file, TESTS)
    ranks = (rank for rank, start in enumerate(LONGEST_FIRST) if name.startswith(start))
    return next(ranks, len(LONGEST_FIRST))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        pytestconfig.stash[SERVERS]["Redis"] = server.name
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database."""
    with closing(redis.Redis.from_url(redis_server.url)) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    """A ledger without jobs."""
    with closing(Ledger(redis_url)) as ledger:
        yield ledger


@pytest.fixture(scope="session")
def s3(pytestconfig: pytest.Config) -> Iterator[S3Server]:
    """The server. Other tests use it at the same time, so a test may rely only on its own buckets."""
    with ExitStack() as stack:
        shared: dict[str, dict[str, str]] = getattr(pytestconfig, "workerinput", {})
        server = S3Server(**shared["s3"]) if shared else stack.enter_context(start_s3())
        pytestconfig.stash[SERVERS]["S3"] = server.name
        yield server


@pytest.fixture(scope="session")
def _s3_client(s3: S3Server) -> Iterator[Any]:
    with closing(s3.client()) as client:
        yield client


@pytest.fixture
def bucket(_s3_client: Any) -> Bucket:
    """A new, empty bucket."""
    name = f"test-{uuid4().hex}"
    _s3_client.create_bucket(Bucket=name)
    return Bucket(name, _s3_client)


@pytest.fixture
def s3_env(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points boto3's settings to the test server, in this process and in those that it starts."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photos."""
    folder = tmp_path_factory.mktemp("photos")
    make_photos(folder)
    return folder


@pytest.fixture
def fiqa(tmp_path: Path) -> Fiqa:
    """Runs `fiqa` in an empty folder with the built-in models."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*arguments: str | Path, environment: Mapping[str, str] = BUILTIN, stdin: str = "") -> Run:
        models = {"FIQA_MODELS_DIR": str(tmp_path / "models")}
        return run_fiqa(*arguments, environment={**os.environ, **models, **environment}, cwd=folder, stdin=stdin)

    return run
