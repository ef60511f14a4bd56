"""This machine: its disks, and the versions of packages."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from fiqa.doctor.findings import Finding, State

# A container often has 64 MB for temporary files, and a worker needs little of it.
_TEMPORARY_BYTES: Final = 10_000_000
_CLIENT: Final = ("celery", "kombu", "redis", "boto3")


def check_disk(what: str, folder: Path, *, warn_bytes: int, least_bytes: int = 0) -> Iterator[Finding]:
    """Look at the free space of the file system that a folder is on, or will be on.

    Args:
        what: what is kept in the folder.
        folder: the folder; it need not exist.
        warn_bytes: less free space is a warning.
        least_bytes: less free space is wrong.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        yield Finding("disk", State.WRONG, f"{what}: cannot read {folder}: {error.strerror}: mount it again")
        return
    text = f"{what}: {usage.free / 1e9:,.2f} GB free of {usage.total / 1e9:,.2f} GB, in {folder}"
    if usage.free < warn_bytes:
        yield Finding("disk", State.WRONG if usage.free < least_bytes else State.WARNING, f"{text}: free some space")
    else:
        yield Finding("disk", State.OK, text)


def check_temporary_folder() -> Iterator[Finding]:
    """Look at the folder for temporary files."""
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        text = "no temporary folder can be written, and `fiqa run` needs one: set TMPDIR to a writable folder"
        yield Finding("disk", State.WARNING, text)
        return
    yield from check_disk("temporary files", folder, warn_bytes=_TEMPORARY_BYTES)


def check_versions() -> Iterator[Finding]:
    """Compare the installed packages with what fiqa requires."""
    wrong = [problem for requirement in requires("fiqa") or () if (problem := _problem(requirement))]
    for problem in wrong:
        yield Finding("versions", State.WRONG, f"{problem}: install fiqa again, with constraints.txt")
    if not wrong:
        names = ["fiqa " + version("fiqa"), f"Python {platform.python_version()}"]
        yield Finding("versions", State.OK, ", ".join([*names, *versions(_CLIENT)]))


def versions(packages: Iterable[str]) -> list[str]:
    """Return the names and versions of those packages that are installed."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def _problem(requirement: str) -> str:
    """Return what is wrong with the package of a requirement such as `celery[redis]<5.8,>=5.7.0`; empty if nothing."""
    wanted, _, condition = requirement.partition(";")
    parsed = re.match(r"[\w.-]+", wanted)
    if parsed is None or "extra" in condition:
        return ""
    try:
        found = version(parsed[0])
    except PackageNotFoundError:
        return f"{parsed[0]} is not installed"
    bounds = re.findall(r"(>=|<)([\d.]+)", wanted)
    fits = all((_numbers(found) >= _numbers(bound)) == (sign == ">=") for sign, bound in bounds)
    return "" if fits else f"{parsed[0]} {found} is installed, fiqa needs {wanted.strip()}"


def _numbers(text: str) -> tuple[int, ...]:
    release = re.match(r"[\d.]*\d", text)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
