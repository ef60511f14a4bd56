from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import ModelFile, find
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import open_session
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.quantize.agreement import Agreement, Limits
from fiqa_worker.quantize.faces import Crops, collect_faces
from fiqa_worker.quantize.int8 import quantize, without_prelu
from fiqa_worker.settings import Device
from tests.worker.models import graphs

ALL = Limits(mean=10, p99=10, rank=-1)
FEW = Limits(rank=0.95)  # with so few faces, one face that changes its rank counts more


@pytest.fixture(scope="module")
def faces(photos: list[Path], detector: Detector) -> tuple[Crops, Crops]:
    """All faces of the demo's photos, damaged ones included."""
    return collect_faces(photos, detector, faces=1000, max_pixels=100_000_000, min_faces=20)


@pytest.fixture(scope="module")
def made(faces: tuple[Crops, Crops], tmp_path_factory: pytest.TempPathFactory) -> tuple[Agreement, ModelFile | None]:
    output = tmp_path_factory.mktemp("int8") / "mine.onnx"
    return quantize(find("builtin_quality", "quality", ""), *faces, output, limits=FEW)


def written(made: tuple[Agreement, ModelFile | None]) -> ModelFile:
    assert made[1] is not None
    return made[1]


def scores(model: ModelFile, crops: Crops) -> np.ndarray:
    return QualityScorer(open_session(model, Device.CPU)).score(crops)


def test_the_int8_form_of_the_built_in_model_scores_within_the_limits(
    made: tuple[Agreement, ModelFile | None], faces: tuple[Crops, Crops], tmp_path: Path
) -> None:
    agreement, int8 = made[0], written(made)
    assert agreement.faces == len(faces[1]) >= 10
    assert not agreement.beyond(FEW)
    assert int8.name == f"mine@{int8.sha256[:8]}"
    model = find("builtin_quality", "quality", "")
    assert int8.path.stat().st_size < 0.6 * model.path.stat().st_size
    before, after = (scores(prepare(file, tmp_path), faces[1]) for file in (model, int8))
    assert np.abs(before - after).mean() == pytest.approx(agreement.mean)
    assert 0 < agreement.mean <= agreement.p99 == pytest.approx(np.percentile(np.abs(before - after), 99))


def test_an_int8_model_has_int8_weights_and_stays_as_it_is_when_it_is_prepared(
    made: tuple[Agreement, ModelFile | None], faces: tuple[Crops, Crops], tmp_path: Path
) -> None:
    int8 = written(made)
    prepared = prepare(int8, tmp_path)
    before, after = onnx.load(int8.path).graph, onnx.load_from_string(prepared.data).graph
    assert after.node == before.node
    kinds = {weights.data_type for weights in before.initializer if "quantized" in weights.name}
    assert onnx.TensorProto.INT8 in kinds
    np.testing.assert_array_equal(scores(prepared, faces[1]), scores(int8, faces[1]))
    assert np.ptp(scores(prepared, faces[1])) > 0.1


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(mean=0), "the mean difference is over 0"),
        (Limits(p99=0), "the 99th percentile is over 0"),
        (Limits(rank=1.1), "the rank correlation is under 1.1"),
    ],
)
def test_beyond_a_limit_nothing_is_written(
    limits: Limits, says: str, faces: tuple[Crops, Crops], tmp_path: Path
) -> None:
    model = graphs.quality(tmp_path / "float.onnx")
    agreement, int8 = quantize(model, *faces, tmp_path / "mine.onnx", limits=limits)
    assert int8 is None
    assert says in agreement.beyond(limits)
    assert [path.name for path in tmp_path.iterdir()] == ["float.onnx"]


@pytest.mark.parametrize("steepest", [0.9, 1.5])
def test_a_model_with_prelus_keeps_its_scores_without_them(
    steepest: float, faces: tuple[Crops, Crops], tmp_path: Path
) -> None:
    model = graphs.quality(tmp_path / "float.onnx")
    loaded = onnx.load(model.path)
    for weights in loaded.graph.initializer:
        if weights.name == "stem_slope":
            slopes = np.linspace(-0.2, steepest, 8, dtype=np.float32).reshape(8, 1, 1)
            weights.CopyFrom(numpy_helper.from_array(slopes, weights.name))
    onnx.save(loaded, model.path)
    model = find(str(model.path), "quality", "")
    bare = without_prelu(model)
    onnx.save(bare, tmp_path / "bare.onnx")
    operators = Counter(node.op_type for node in bare.graph.node)
    assert operators["PRelu"] == 2  # the one slope that all channels share, and the one over a vector
    assert operators["Conv"] - Counter(node.op_type for node in loaded.graph.node)["Conv"] == (2 if steepest < 1 else 3)
    expected = scores(model, faces[1])
    found = scores(find(str(tmp_path / "bare.onnx"), "quality", ""), faces[1])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    _, int8 = quantize(model, *faces, tmp_path / "mine.onnx", limits=ALL)
    assert int8 is not None
    assert np.abs(scores(int8, faces[1]) - expected).mean() < 0.1 * np.abs(expected).mean()


def test_an_int8_model_is_not_quantized_again(
    made: tuple[Agreement, ModelFile | None], faces: tuple[Crops, Crops], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="is quantized already: name a float model in FIQA_QUALITY_MODEL"):
        quantize(written(made), *faces, tmp_path / "again.onnx", limits=ALL)
