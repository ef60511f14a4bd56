from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fiqa_worker.models.locate import ModelFile, find
from fiqa_worker.pipeline import identity
from fiqa_worker.pipeline.identity import Identity, identify
from fiqa_worker.settings import Decode, WorkerSettings


@pytest.fixture
def models(tmp_path: Path) -> dict[str, ModelFile]:
    return {
        "detector": find("builtin_detector", "detector", str(tmp_path)),
        "quality_model": find("builtin_quality", "quality", str(tmp_path)),
    }


def identified(
    models: dict[str, ModelFile], *, threshold: float = 0.8, device: str = "cpu", **settings: Any
) -> Identity:
    return identify(**models, settings=WorkerSettings(**settings), threshold=threshold, device=device)


def test_models_are_named_with_their_hash_once(models: dict[str, ModelFile], tmp_path: Path) -> None:
    assert identified(models).detector == f"builtin_detector@{models['detector'].sha256[:8]}"
    (tmp_path / "mine.onnx").write_bytes(models["quality_model"].path.read_bytes())
    mine = find(str(tmp_path / "mine.onnx"), "quality", "")
    assert identified({**models, "quality_model": mine}).quality_model == f"mine@{mine.sha256[:8]}"


def test_the_fingerprint_is_of_all_that_decides_scores(
    models: dict[str, ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = identified(models).fingerprint
    swapped = {"detector": models["quality_model"], "quality_model": models["detector"]}
    others = {
        base,
        identified(swapped).fingerprint,
        identified(models, threshold=0.7).fingerprint,
        identified(models, detect_size=320).fingerprint,
        identified(models, decode=Decode.FULL).fingerprint,
    }
    with monkeypatch.context() as without_heif:
        without_heif.setattr(identity, "find_spec", lambda _: None)
        others.add(identified(models).fingerprint)
    monkeypatch.setattr(identity, "SCORING_VERSION", identity.SCORING_VERSION + 1)
    others.add(identified(models).fingerprint)
    assert len(others) == 7


def test_the_fingerprint_is_of_nothing_else(models: dict[str, ModelFile]) -> None:
    base = identified(models).fingerprint
    assert identified(models, device="cuda").fingerprint == base
    assert identified(models, max_image_bytes=1, allowed_sources=("s3://a",)).fingerprint == base
