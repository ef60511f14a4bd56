"""Docker for the tests: the daemon, the images, and the services of docker-compose.yml."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fiqa import __version__
from tests.servers import S3Server, free_ports

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
# The official models cannot be downloaded everywhere.
MODELS: Final = {"FIQA_DETECTOR": "builtin_detector", "FIQA_QUALITY_MODEL": "builtin_quality"}
IMAGES: Final = ("fiqa-worker", "fiqa-client")
ACCESS_KEY, SECRET_KEY = "fiqa-test", "fiqa-test-secret"  # those of start-s3.sh
BUCKET: Final = "fiqa"
STORAGE: Final = f"s3://{BUCKET}/jobs"
COMMAND_TIMEOUT_S: Final = 600


@dataclass(frozen=True)
class Docker:
    """The client of one daemon."""

    host: str

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.host}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker` with these arguments.

        Raises:
            RuntimeError: it failed, and `check` is set. The message holds what it printed.
        """
        return execute("docker", *arguments, env=self.env, check=check)

    def build(
        self, name: str, *, context: Path = ROOT, network: str = "host", models: Mapping[str, str] = MODELS
    ) -> None:
        """Build an image of deploy/, such as fiqa-worker, on the base that needs no registry."""
        arguments = {"PYTHON_IMAGE": "fiqa-test-python", "VERSION": __version__}
        if name == "fiqa-worker":
            arguments |= models
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        dockerfile = context / "deploy" / f"{name.removeprefix('fiqa-')}.Dockerfile"
        self.run("build", "-q", f"--network={network}", "-t", name, "-f", str(dockerfile), *options, str(context))

    def inspect(self, name: str) -> dict[str, Any]:
        """Return all that the daemon knows of a container or an image."""
        found: list[dict[str, Any]] = json.loads(self.run("inspect", name).stdout)
        return found[0]

    def log(self, container: str) -> str:
        done = self.run("logs", container)
        return done.stdout + done.stderr


def execute(*command: str, env: dict[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def start_docker() -> Docker:
    """Start the daemon, unless it runs already. It stays: stop-docker.sh ends it.

    Raises:
        RuntimeError: it cannot run here. The message says why.
    """
    line = execute(str(HERE / "start-docker.sh"), env=dict(os.environ)).stdout.strip()
    return Docker(line.removeprefix("DOCKER_HOST="))


@dataclass(frozen=True)
class Stack:
    """The services of docker-compose.yml, as tests/containers/compose.yml changes them."""

    docker: Docker
    project: str
    redis_port: int
    s3_port: int
    prometheus_port: int

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def s3(self) -> S3Server:
        return S3Server(f"http://127.0.0.1:{self.s3_port}", ACCESS_KEY, SECRET_KEY, "Ceph")

    def compose(self, *arguments: str, processes: int = 2) -> str:
        """Run `docker compose`, or `docker-compose` 1.29, with these arguments; returns what it printed."""
        files = ("-f", "docker-compose.yml", "-f", "tests/containers/compose.yml")
        env = self.docker.env | {
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_SECRET_KEY": SECRET_KEY,
            "REDIS_PORT": str(self.redis_port),
            "S3_PORT": str(self.s3_port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "WORKER_PROCESSES": str(processes),
        }
        has_plugin = not self.docker.run("compose", "version", check=False).returncode
        command = ("docker", "compose") if has_plugin else ("docker-compose",)
        done = execute(*command, "-p", self.project, *files, *arguments, env=env)
        return done.stdout + done.stderr

    def scale(self, workers: int, *, processes: int = 2) -> list[str]:
        """Run this many worker containers; returns their names, the oldest first."""
        self.compose("up", "-d", "--scale", f"worker={workers}", "worker", processes=processes)
        return self.containers("worker")

    def containers(self, service: str) -> list[str]:
        """Return the names of a service's containers that run, the oldest first."""
        labels = {"com.docker.compose.project": self.project, "com.docker.compose.service": service}
        filters = [f"--filter=label={label}={value}" for label, value in labels.items()]
        return self.docker.run("ps", "--format={{.Names}}", *filters).stdout.split()[::-1]

    def env_of(self, container: str) -> list[str]:
        """Return options of `docker run` that set what compose set for this container."""
        names = ("FIQA_REDIS_URL", "FIQA_STORAGE", "FIQA_ALLOWED_SOURCES", "AWS_")
        env = self.docker.inspect(container)["Config"]["Env"]
        return [f"--env={line}" for line in env if line.startswith(names)]

    @contextmanager
    def another_worker(self, *options: str) -> Iterator[str]:
        """Run a worker that is not one of the service's; yields its name.

        Args:
            options: of `docker run`, such as --memory. They come last, so that they override the service's.
        """
        name = f"{self.project}-other-{uuid4().hex[:8]}"
        (model,) = self.containers("worker")[:1] or self.scale(1)
        self.docker.run(
            *("run", "-d", "--init", "--read-only", "--tmpfs=/tmp", "--cap-drop=all", f"--name={name}"),
            *(f"--network={self.project}_default", *self.env_of(model), *options, "fiqa-worker"),
        )
        try:
            yield name
        finally:
            self.docker.run("rm", "-f", name)


@contextmanager
def start_stack(docker: Docker) -> Iterator[Stack]:
    """Start all services of docker-compose.yml with one worker, as `docker-compose up` does. Delete them at the end."""
    stack = Stack(docker, f"fiqa{uuid4().hex[:8]}", free_ports(1), free_ports(1), free_ports(1))
    try:
        stack.compose("up", "-d")
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5")
