from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from fiqa.doctor import machine
from fiqa.doctor.findings import State
from fiqa.doctor.machine import check_disk, check_temporary_folder, check_versions, versions
from tests.producer.doctor.looking import one


def test_the_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    text = one(check_disk("storage", tmp_path / "a" / "b", warn_bytes=1), State.OK)
    assert text.startswith("storage: ")
    assert text.endswith(f"in {tmp_path}")


@pytest.mark.parametrize(("free", "state"), [(50_000_000, State.WRONG), (500_000_000, State.WARNING)])
def test_little_space_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, state: State) -> None:
    usage = type("Usage", (), {"free": free, "total": 10**11})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)  # a disk that is nearly full would need root
    assert one(check_disk("storage", tmp_path, warn_bytes=10**9, least_bytes=10**8), state).endswith(
        ": free some space"
    )


def test_no_temporary_folder_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)  # root may write everywhere
    assert "set TMPDIR" in one(check_temporary_folder(), State.WARNING)


def test_the_versions_of_this_installation_fit() -> None:
    text = one(check_versions(), State.OK)
    assert f"fiqa {version('fiqa')}, Python 3." in text
    assert f"celery {version('celery')}" in text


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        ("celery[redis]<5.8,>=5.7.0", ""),
        ("celery<5.7", "celery {celery} is installed, fiqa needs celery<5.7"),
        ("kombu>=99.1", "kombu {kombu} is installed, fiqa needs kombu>=99.1"),
        ("no-such-package>=1", "no-such-package is not installed"),
        ("no-such-package>=1; extra == 'cpu'", ""),
    ],
)
def test_a_version_that_does_not_fit_is_wrong(monkeypatch: pytest.MonkeyPatch, requirement: str, problem: str) -> None:
    requirements: Any = lambda _: [requirement]  # noqa: E731  shorter than a function
    monkeypatch.setattr(machine, "requires", requirements)
    installed = {name: version(name) for name in ("celery", "kombu")}
    if not problem:
        one(check_versions(), State.OK)
    else:
        text = one(check_versions(), State.WRONG)
        assert text == f"{problem.format(**installed)}: install fiqa again, with constraints.txt"


def test_packages_that_are_not_installed_are_left_out() -> None:
    assert versions(["kombu", "no-such-package"]) == [f"kombu {version('kombu')}"]
