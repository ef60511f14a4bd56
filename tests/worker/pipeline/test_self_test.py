"""The self-test with the package's own models, on this machine's processor."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa_worker.errors import ModelError
from fiqa_worker.models.registry import REGISTRY
from fiqa_worker.models.runtime import processor
from fiqa_worker.pipeline import self_test
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.pipeline.self_test import TEST_IMAGE_SHA256, drawn_face, run_self_test
from fiqa_worker.settings import WorkerSettings

BUILTIN = {"detector": "builtin_detector", "quality_model": "builtin_quality"}
OFFICIAL = REGISTRY["ediffiqa_tiny_jun2024"]


class Shifted:
    """A scorer of a machine that computes something else."""

    def __init__(self, by: float) -> None:
        self._by = by

    def score(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full(len(crops), 0.309821 + self._by, np.float32)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.load(WorkerSettings.load(**BUILTIN, models_dir=str(tmp_path_factory.mktemp("models"))))


def changed(pipeline: Pipeline, *, by: float = 0.0, model: str = "builtin_quality", device: str = "cpu") -> Pipeline:
    """Return the pipeline with a scorer that is off, under the name of a model of the registry or any other."""
    name = f"{model}@{REGISTRY[model].sha256[:8]}" if model in REGISTRY else model
    scorer: Any = Shifted(by)
    identity = dataclasses.replace(pipeline.identity, quality_model=name, device=device)
    return dataclasses.replace(pipeline, scorer=scorer, identity=identity)


def test_the_test_image_is_the_published_one() -> None:
    image = drawn_face()
    assert image.shape == (112, 112, 3)
    assert hashlib.sha256(image.tobytes()).hexdigest() == TEST_IMAGE_SHA256


def test_the_built_in_models_pass(pipeline: Pipeline) -> None:
    found = run_self_test(pipeline)
    assert (found.verdict, found.warning) == ("passed", "")
    assert (found.quality, found.confidence) == pytest.approx((0.309821, 0.931478), abs=1e-3)


@pytest.mark.parametrize("setting", [{"detect_size": 64}, {"detect_threshold": 0.99}])
def test_the_settings_of_detection_do_not_matter(setting: dict[str, Any], tmp_path: Path) -> None:
    settings = WorkerSettings.load(**BUILTIN, models_dir=str(tmp_path), **setting)
    assert run_self_test(Pipeline.load(settings)).verdict == "passed"


@pytest.mark.parametrize("by", [0.0009, -0.0009])
def test_a_small_difference_passes(pipeline: Pipeline, by: float) -> None:
    assert run_self_test(changed(pipeline, by=by)).verdict == "passed"


@pytest.mark.parametrize("by", [0.0011, -0.0011, float("inf")])
def test_a_built_in_model_that_is_off_is_refused_by_the_name_of_the_processor(pipeline: Pipeline, by: float) -> None:
    with pytest.raises(ModelError) as refused:
        run_self_test(changed(pipeline, by=by))
    assert processor() in str(refused.value)
    assert "onnxruntime 1." in str(refused.value)


def test_a_detector_that_is_off_is_refused(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    known = self_test._KNOWN["builtin_detector"]  # noqa: SLF001  no real machine computes wrongly
    for other in (dataclasses.replace(known, value=0.9), dataclasses.replace(known, box=(0.3, *known.box[1:]))):
        monkeypatch.setitem(self_test._KNOWN, "builtin_detector", other)  # noqa: SLF001  the same
        with pytest.raises(ModelError, match=r"^self-test: builtin_detector@"):
            run_self_test(pipeline)


def test_on_another_device_a_difference_is_a_warning(pipeline: Pipeline) -> None:
    found = run_self_test(changed(pipeline, by=0.0011, device="cuda"))
    assert found.verdict == "differs"
    assert found.warning.startswith("self-test: builtin_quality@")
    assert "its scores may be wrong" in found.warning


def test_the_official_model_passes_with_its_published_score(pipeline: Pipeline) -> None:
    found = run_self_test(changed(pipeline, by=0.5160775 - 0.309821, model=OFFICIAL.name))
    assert (found.verdict, found.warning) == ("passed", "")


def test_the_official_model_with_another_score_is_a_warning(pipeline: Pipeline) -> None:
    found = run_self_test(changed(pipeline, model=OFFICIAL.name))
    assert found.verdict == "differs"
    assert "expected 0.51608, which is published" in found.warning


def test_what_a_model_without_a_known_score_gives_is_noted(pipeline: Pipeline) -> None:
    found = run_self_test(changed(pipeline, by=0.2, model="mine-int8@01234567"))
    assert (found.verdict, found.warning) == ("noted", "")
    assert found.quality == pytest.approx(0.509821)


def test_a_score_that_is_not_a_number_is_refused_of_any_model(pipeline: Pipeline) -> None:
    with pytest.raises(ModelError, match="mine@01234567 gives nan"):
        run_self_test(changed(pipeline, by=float("nan"), model="mine@01234567"))


def test_an_opencv_that_draws_other_lines_is_a_warning(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "TEST_IMAGE_SHA256", "other")
    found = run_self_test(changed(pipeline, by=0.2))
    assert found.verdict == "differs"
    assert "draws another test image" in found.warning
