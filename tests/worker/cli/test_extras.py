from __future__ import annotations

from pathlib import Path

import pytest

from fiqa.errors import MissingDependencyError
from fiqa_worker.cli.extras import needs
from fiqa_worker.settings import WorkerSettings


def test_a_model_of_the_registry_keeps_its_name_and_one_given_by_path_its_path(
    chosen: WorkerSettings, tmp_path: Path
) -> None:
    assert chosen.detector == "builtin_detector"
    assert chosen.quality_model == str(tmp_path / "mine.onnx")


def test_commands_may_read_every_file_of_their_user(chosen: WorkerSettings) -> None:
    assert chosen.allowed_sources == ("file:///", "s3://")


def test_the_error_for_a_missing_package_is_one_line_that_names_the_extra() -> None:
    with (
        pytest.raises(MissingDependencyError, match=r"\(cv2\.x is missing\): pip install 'fiqa\[cpu\]'$"),
        needs("cpu"),
    ):
        raise ModuleNotFoundError(name="cv2.x")


def test_a_missing_module_of_fiqa_itself_is_raised_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError), needs("cpu"):
        raise ModuleNotFoundError(name="fiqa_worker.nowhere")
