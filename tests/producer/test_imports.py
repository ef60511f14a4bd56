from __future__ import annotations

import subprocess
import sys

import pytest

import fiqa

HEAVY = {"cv2", "numpy", "onnxruntime", "onnx", "obstore", "fiqa_worker"}


def loaded_by(statement: str) -> set[str]:
    """The packages that are loaded in a fresh process."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import fiqa", "import fiqa.cli.main"])
def test_the_client_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


def test_a_client_whose_home_is_not_s3_does_not_load_boto3() -> None:
    made = loaded_by("from fiqa import Client\nClient(storage='redis')\nClient(storage='/tmp')")
    assert not made & {"boto3", "botocore"}


def test_what_the_package_exposes_is_what_it_says() -> None:
    modules = {name for name, value in vars(fiqa).items() if getattr(value, "__spec__", None) and name.islower()}
    exposed = {name for name in vars(fiqa) if not name.startswith("_")} - modules
    assert exposed == set(fiqa.__all__)
    assert fiqa.__all__ == sorted(fiqa.__all__)
