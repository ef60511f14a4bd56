from __future__ import annotations

from pathlib import Path

import pytest

from fiqa_worker.models.locate import find
from fiqa_worker.models.registry import REGISTRY, Kind


@pytest.mark.parametrize(("name", "kind"), [("builtin_detector", "detector"), ("builtin_quality", "quality")])
def test_the_built_in_models_are_part_of_the_package_and_verified(name: str, kind: Kind, tmp_path: Path) -> None:
    model = find(name, kind, str(tmp_path))
    assert (model.name, model.kind, model.path.stat().st_size) == (name, kind, REGISTRY[name].bytes)
    assert model.threshold == (0.8 if kind == "detector" else 0)
