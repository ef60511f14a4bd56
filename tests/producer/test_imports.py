from __future__ import annotations

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


# The names are imported at their first use, so the second statement imports them all.
@pytest.mark.parametrize("statement", ["import fiqa", "from fiqa import *"])
def test_the_library_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & (HEAVY | NOT_FOR_A_LIBRARY | NOT_BEFORE_THEY_ARE_USED)


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
