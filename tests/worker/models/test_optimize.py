from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.registry import Kind
from fiqa_worker.models.sessions import open_session
from fiqa_worker.settings import Device
from tests.worker.models import graphs

BUILT_IN: dict[Kind, str] = {"detector": "builtin_detector", "quality": "builtin_quality"}


KINDS: tuple[Kind, ...] = ("detector", "quality")


def random_batch(kind: Kind, count: int, height: int = graphs.SIDE, width: int = graphs.SIDE) -> np.ndarray:
    rng = np.random.default_rng(7)
    if kind == "detector":
        return rng.uniform(0, 255, (count, 3, height, width)).astype(np.float32)
    return rng.uniform(-1, 1, (count, 3, 112, 112)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prepared_model_has_the_outputs_of_the_published_one(kind: Kind, tmp_path: Path) -> None:
    model = graphs.published(kind, tmp_path / "model.onnx")
    before, after = (open_session(form, Device.CPU) for form in (model, prepare(model, tmp_path)))
    assert after.output_names == before.output_names
    batch = random_batch(kind, 1)
    for old, new in zip(before.run(batch), after.run(batch), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-6)
        assert np.ptp(old) > 0 or old.size == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_prepared_model_takes_batches(kind: Kind, tmp_path: Path) -> None:
    session = open_session(prepare(graphs.published(kind, tmp_path / "model.onnx"), tmp_path), Device.CPU)
    batch = random_batch(kind, 3)
    alone = [session.run(image[np.newaxis]) for image in batch]
    for index, together in enumerate(session.run(batch)):
        np.testing.assert_allclose(together, np.concatenate([outputs[index] for outputs in alone]), atol=1e-6)


def test_a_prepared_detector_takes_images_of_other_sizes(tmp_path: Path) -> None:
    session = open_session(prepare(graphs.detector(tmp_path / "model.onnx"), tmp_path), Device.CPU)
    outputs = dict(zip(session.output_names, session.run(random_batch("detector", 2, 96, 160)), strict=True))
    assert outputs["cls_8"].shape == (2, 12 * 20, 1)
    assert outputs["kps_32"].shape == (2, 3 * 5, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_built_in_model_needs_no_optimization_and_stays_as_it_is(kind: Kind, tmp_path: Path) -> None:
    model = find(BUILT_IN[kind], kind, str(tmp_path))
    before, after = onnx.load(model.path), onnx.load_from_string(prepare(model, tmp_path).data)
    assert after.graph.node == before.graph.node
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output


@pytest.mark.parametrize("content", [b"", b"no model at all", None], ids=["empty", "text", "cut"])
def test_the_error_for_a_corrupt_file_is_one_clear_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(graphs.quality(path).path.read_bytes()[:900] if content is None else content)
    with pytest.raises(ModelError, match=r"mine\.onnx is not an ONNX model that can be used: ") as error:
        prepare(find(str(path), "quality", ""), tmp_path)
    assert "\n" not in str(error.value)


def test_a_model_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    detector, quality = graphs.detector(tmp_path / "d.onnx").path, graphs.quality(tmp_path / "q.onnx").path
    with pytest.raises(ModelError, match=r"d\.onnx is not a quality model: one output"):
        prepare(find(str(detector), "quality", ""), tmp_path)
    with pytest.raises(ModelError, match=r"q\.onnx is not a detector: YuNet's twelve outputs"):
        prepare(find(str(quality), "detector", ""), tmp_path)


def test_a_model_with_its_weights_in_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graphs.quality(tmp_path / "mine.onnx").path
    loaded = onnx.load(path)
    onnx.save(loaded, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    for folder in (tmp_path, Path.cwd()):  # onnx looks for the other file in the working folder
        monkeypatch.chdir(folder)
        with pytest.raises(ModelError, match=r"mine\.onnx (keeps its weights in another file|.* should be stored in)"):
            prepare(find(str(path), "quality", ""), tmp_path)
