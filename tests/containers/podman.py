"""Podman for the tests: it runs Kubernetes manifests without Kubernetes. It has its own folder of images and pods."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.containers.engine import Docker, execute
from tests.test_kubernetes import KUBECTL, KUBERNETES

NEEDED: Final = ("podman", "runc", "catatonit", "iptables")
VERSION: Final = "4.3"
# The name that podman gives to the first container of the first pod of the Deployment.
CONTAINER: Final = "fiqa-worker-pod-0-worker"
# Limits that may not be raised in a container, where tests often run.
CONFIG: Final = """
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
[engine]
runtime = "runc"
"""


@dataclass(frozen=True)
class Podman:
    """Podman, with all that it keeps in one folder."""

    folder: Path

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `podman` with these arguments; see Docker.run."""
        stores = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"))
        env = os.environ | {"CONTAINERS_CONF": str(self.folder / "containers.conf")}
        return execute("podman", *stores, *map(str, arguments), env=env, check=check)

    def play(self, file: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Start what a file of manifests describes, on the network of this machine."""
        return self.run("kube", "play", "--network", "host", file, check=check)

    def create_secret(self, values: Mapping[str, str]) -> None:
        """Create the Secret `fiqa`. Podman 4.3, which Debian 12 has, takes it in this form only."""
        file = self.folder / "secret.json"
        file.write_text(json.dumps({name: b64encode(value.encode()).decode() for name, value in values.items()}))
        self.run("secret", "create", "fiqa", file)

    @contextmanager
    def pods(self, file: Path) -> Iterator[None]:
        try:
            self.play(file)
            yield
        finally:
            self.run("kube", "down", file)


def why_not() -> str:
    """Return why podman cannot run here, or nothing."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    version = execute("podman", "version", "--format", "{{.Client.Version}}", env=dict(os.environ)).stdout.strip()
    return "" if version.startswith(VERSION) else f"podman is {version}: only {VERSION} reads the secret of these tests"


@contextmanager
def start_podman(docker: Docker, folder: Path, *images: str) -> Iterator[Podman]:
    """Yield a Podman that has copies of these images. All that it keeps is deleted at the end."""
    podman = Podman(folder)
    (folder / "containers.conf").write_text(CONFIG)
    for name in images:
        archive = folder / f"{name}.tar"
        docker.run("save", "-o", str(archive), name)
        podman.run("load", "-q", "-i", archive)
        archive.unlink()
    try:
        yield podman
    finally:
        podman.run("pod", "rm", "-af", check=False)
        podman.run("rmi", "-af", check=False)
        shutil.rmtree(folder / "root", ignore_errors=True)


def write_overlay(folder: Path, settings: Mapping[str, str]) -> Path:
    """Write an overlay as docs/kubernetes.md shows it, on top of `cpu`, and return the file of all its manifests."""
    overlay = folder / "overlay"
    overlay.mkdir()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(KUBERNETES / "overlays" / "cpu", overlay)],
        "images": [{"name": "fiqa-worker", "newName": "localhost/fiqa-worker", "newTag": "latest"}],
        "replicas": [{"name": "fiqa-worker", "count": 1}],
        "configMapGenerator": [
            {"name": "fiqa", "behavior": "merge", "literals": [f"{name}={value}" for name, value in settings.items()]}
        ],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    file = folder / "all.yaml"
    file.write_text(execute(KUBECTL, "kustomize", str(overlay), env=dict(os.environ)).stdout)
    return file
