"""The names of what runs the models on this machine. No heavy package is imported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

# Each of them installs the module `onnxruntime`. The one that was installed last replaces the files of the others.
ONNXRUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def onnxruntime_version() -> str:
    """Return the package and the version, such as `onnxruntime 1.32.0`."""
    for package in ONNXRUNTIMES:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return "onnxruntime of unknown version"
