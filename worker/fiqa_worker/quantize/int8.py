"""Makes the static int8 form of a float quality model.

It is written only if its scores agree with the float model's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import shape_inference, version_converter

from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import ModelFile, find, store
from fiqa_worker.models.prelu import int8_form, rewrite_prelus
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import open_session, write_int8
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.quantize.agreement import Agreement, Limits, compare
from fiqa_worker.quantize.faces import Crops
from fiqa_worker.settings import Device

_LEAST_OPSET: Final = 13  # the first version with a scale for every channel of a weight
_QUANTIZED: Final = frozenset({"DequantizeLinear", "QLinearConv", "ConvInteger"})


def quantize(
    model: ModelFile,
    calibration: Crops,
    held_out: Crops,
    output: Path,
    *,
    limits: Limits,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[Agreement, ModelFile | None]:
    """Make the static int8 form of a quality model, compare it with the float model, and write it if they agree.

    Args:
        model: a float model, as `find` returned it.
        calibration: N x 112 x 112 x 3 uint8 BGR, faces whose activations set the ranges.
        held_out: N x 112 x 112 x 3 uint8 BGR, other faces to compare scores on.
        output: an .onnx file to write.
        limits: nothing is written if one is exceeded.
        progress: called with the number of faces run so far; at the end it is len(calibration) + len(held_out).

    Returns:
        The comparison of the scores, and the written model. None instead of the model if the scores differ too much.

    Raises:
        ModelError: the model cannot be quantized, or the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="fiqa-") as name:
        folder = Path(name)
        before = QualityScorer(open_session(prepare(model, folder), Device.CPU))
        source, int8 = folder / "float.onnx", folder / "int8.onnx"
        onnx.save(without_prelu(model), source)
        write_int8(source, int8, _batches(calibration), progress=progress)
        # Load it as a worker will: given by path, then prepared.
        after = QualityScorer(open_session(prepare(find(str(int8), "quality", ""), folder), Device.CPU))
        agreement = compare(before, after, held_out, progress=lambda done: progress(len(calibration) + done))
        if agreement.beyond(limits):
            return agreement, None
        store(output, int8.read_bytes(), remedy="choose a writable folder with -o")
    return agreement, find(str(output), "quality", "")


class _Recorder:
    """A session that keeps its inputs and computes nothing."""

    output_names: Final = ["quality"]
    batch_size: Final = 1
    device: Final = "none"

    def __init__(self) -> None:
        self.batches: list[NDArray[np.float32]] = []

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self.batches.append(batch.copy())
        return [np.zeros((len(batch), 1), np.float32)]


def _batches(crops: Crops) -> list[NDArray[np.float32]]:
    """Return the inputs that the scorer gives to a quality model for these faces."""
    recorder = _Recorder()
    QualityScorer(recorder).score(crops)
    return recorder.batches


def without_prelu(model: ModelFile) -> onnx.ModelProto:
    """Return the float model with each PRelu over an image in its int8 form. All nodes have names.

    Raises:
        ModelError: the model is quantized already.
    """
    loaded = onnx.load_from_string(model.data)
    if any(opset.domain == "" and opset.version < _LEAST_OPSET for opset in loaded.opset_import):
        loaded = version_converter.convert_version(loaded, _LEAST_OPSET)
    loaded = shape_inference.infer_shapes(loaded)
    graph = loaded.graph
    if any(node.op_type in _QUANTIZED for node in graph.node):
        raise ModelError(f"{model.path} is quantized already: name a float model in FIQA_QUALITY_MODEL")
    rewrite_prelus(graph, int8_form)
    for index, node in enumerate(graph.node):
        node.name = f"{index}_{node.op_type}"  # onnxruntime excludes nodes from int8 by their names
    # onnxruntime warns of each constant that no node reads.
    read = {name for node in graph.node for name in node.input}
    kept = [stored for stored in graph.initializer if stored.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return loaded
