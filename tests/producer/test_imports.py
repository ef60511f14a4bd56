from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fiqa

ROOT = Path(__file__).parents[2]
HEAVY = {"cv2", "numpy", "onnxruntime", "onnx", "obstore", "pyarrow", "fiqa_worker"}
NOT_FOR_A_LIBRARY = {"click", "rich"}
NOT_BEFORE_THEY_ARE_USED = {"boto3", "botocore", "celery", "kombu"}
# `fiqa --help` and completion in the shell need neither.
NOT_FOR_HELP = {"pydantic", "redis", "rich"}


def loaded_by(statement: str) -> set[str]:
    """Return the packages that a fresh process has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_library_loads_nothing_heavy() -> None:
    assert not loaded_by("import fiqa") & (HEAVY | NOT_FOR_A_LIBRARY | NOT_BEFORE_THEY_ARE_USED)


def test_the_commands_load_nothing_heavy() -> None:
    assert not loaded_by("import fiqa.cli.main") & (HEAVY | NOT_BEFORE_THEY_ARE_USED | NOT_FOR_HELP)


def test_boto3_is_not_loaded_unless_the_storage_is_s3() -> None:
    made = loaded_by("from fiqa import Client\nClient(storage='redis')\nClient(storage='/tmp')")
    assert not made & NOT_BEFORE_THEY_ARE_USED


def test_the_package_has_the_names_that_it_exports() -> None:
    assert dir(fiqa) == fiqa.__all__ == sorted(fiqa.__all__)
    for name in set(fiqa.__all__) - {"__version__"}:
        assert getattr(fiqa, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'fiqa' has no attribute 'Nonsense'"):
        fiqa.Nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_that_of_the_project() -> None:
    assert fiqa.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def documented(header: str) -> list[str]:
    """Return the names in the first column of a table of the page on the Python API."""
    page = (ROOT / "docs" / "api.md").read_text()
    table = page.partition(f"| {header} |\n")[2].partition("\n\n")[0]
    cells = re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)", cell)]


def public_methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}


def test_every_exported_name_is_documented_and_nothing_else() -> None:
    assert documented("name | what it is") == fiqa.__all__


def test_every_method_is_documented_and_a_job_has_those_that_client_has_by_id() -> None:
    jobs = set(documented("method of `Job` | what it does"))
    assert jobs == public_methods(fiqa.Job)
    own = set(documented("method of `Client` | what it does"))
    private = {"result_shards"}  # as its docstring says
    assert public_methods(fiqa.Client) == own | jobs | private


@pytest.mark.parametrize("page", ["README.md", "docs"])
def test_what_the_pages_import_is_exported(page: str) -> None:
    path = ROOT / page
    text = "\n".join(file.read_text() for file in (sorted(path.glob("*.md")) if path.is_dir() else [path]))
    imported = {
        name for line in re.findall(r"^from fiqa import (.*)$", text, re.MULTILINE) for name in line.split(", ")
    }
    assert imported
    assert imported <= set(fiqa.__all__)
