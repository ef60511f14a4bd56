"""What is released: the packages run without the repository, and the workflows that build them say what they use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from tests.fiqa_process import BUILTIN, TIMEOUT_S

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PACKAGES = {"fiqa": ROOT / "producer" / "fiqa", "fiqa_worker": ROOT / "worker" / "fiqa_worker"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `python -m build` makes: the source, and the wheel that is built from that source."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"fiqa-{PROJECT['version']}-py3-none-any.whl"


def test_the_wheel_has_every_file_of_both_packages_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected


def test_the_wheel_names_its_version_its_license_and_its_page(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def test_the_installed_wheel_runs_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index")
    run(*pip, "--target", installed, wheel, cwd=tmp_path)
    environment = BUILTIN | {"PYTHONPATH": str(installed)}
    where = run(sys.executable, "-c", "import fiqa, fiqa_worker; print(fiqa.__path__)", cwd=tmp_path, **environment)
    assert str(installed) in where
    command = installed / "bin" / "fiqa"
    assert run(command, "--version", cwd=tmp_path, **environment) == f"fiqa, version {PROJECT['version']}\n"
    portrait = installed / "fiqa_worker" / "demo" / "portrait" / "astronaut.jpg"
    assert run(command, "score", portrait, cwd=tmp_path, **environment).startswith("quality 0.756")
    (tmp_path / "images").symlink_to(portrait.parent)
    run(command, "run", "images", "-o", "results.jsonl", cwd=tmp_path, **environment)  # a server and a worker
    assert '"status":"scored"' in (tmp_path / "results.jsonl").read_text()


def test_a_system_without_fcntl_gets_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fcntl'] = None; sys.argv[1:] = ['jobs']; from fiqa.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fiqa: Windows itself cannot run this: install fiqa in WSL 2, which is a Linux\n"


def test_the_changelog_begins_with_this_version() -> None:
    first = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert re.fullmatch(rf"{re.escape(PROJECT['version'])}, (unreleased|\d{{4}}-\d\d-\d\d)", first)


# Workflows


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_a_commit_and_names_its_version(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if "uses: " in line and "uses: ./" not in line]
    assert used
    for line in used:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_job_has_only_the_rights_that_it_names(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for job in jobs(path).values():
        assert job["permissions"]


def test_the_tests_run_on_every_python_that_is_supported() -> None:
    (test,) = [path for path in WORKFLOWS if path.name == "test.yml"]
    prefix = "Programming Language :: Python :: "
    supported = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert jobs(test)["python"]["strategy"]["matrix"]["python"] == supported
    assert PROJECT["requires-python"] == f">={supported[0]}"
