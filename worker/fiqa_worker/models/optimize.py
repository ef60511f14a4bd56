"""Optimizes the graph of a verified model: axes of any size, and PRelu in its fastest exact form."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, checker, numpy_helper, shape_inference

from fiqa_worker.errors import ModelError
from fiqa_worker.models.graph import constants_of, inputs_of, shapes_of
from fiqa_worker.models.locate import ModelFile
from fiqa_worker.models.prelu import float_form, rewrite_prelus

DETECTOR_OUTPUTS: Final = tuple(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32))
_IMAGE_RANK: Final = 4


def optimize(model: ModelFile) -> bytes:
    """Return the form of a model that sessions load, as the bytes of a file.

    After that, some axes can have any size: batch, height and width of a detector, and the batch of a quality model.
    Each PRelu over an image is replaced by operators that onnxruntime runs several times faster. The results stay the
    same.

    Raises:
        ModelError: the file is not an ONNX model, or lacks the interface of its kind.
    """
    loaded = _load(model)
    graph = loaded.graph
    is_detector = model.kind == "detector"
    _free_reshapes(graph)
    rewrite_prelus(graph, float_form)
    del graph.value_info[:]  # it holds the fixed sizes of the values in between
    _free_axes(inputs_of(graph)[0], ("n", None, "h", "w") if is_detector else ("n",))
    for output in graph.output:
        _free_axes(output, ("n", f"anchors_{output.name}") if is_detector else ("n",))
    checker.check_model(loaded, full_check=True)
    data: bytes = loaded.SerializeToString()
    return data


def _load(model: ModelFile) -> ModelProto:
    try:
        checker.check_model(model.data)
        loaded = onnx.load_from_string(model.data)
        # Only one file was verified, so all weights must be in it.
        if any(stored.data_location == TensorProto.EXTERNAL for stored in loaded.graph.initializer):
            raise ModelError(f"{model.path} keeps its weights in another file: save the model as one file")
        checker.check_model(loaded, full_check=True)
        loaded = shape_inference.infer_shapes(loaded)
    except (ValueError, checker.ValidationError, shape_inference.InferenceError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip()
        raise ModelError(f"{model.path} is not an ONNX model that can be used: {reason}") from None
    inputs = inputs_of(loaded.graph)
    outputs = {output.name for output in loaded.graph.output}
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != _IMAGE_RANK:
        raise ModelError(
            f"{model.path} is not a {model.kind} model: one input of batch x 3 x height x width is expected"
        )
    if model.kind == "detector" and not outputs.issuperset(DETECTOR_OUTPUTS):
        raise ModelError(f"{model.path} is not a detector: YuNet's twelve outputs, cls_8 to kps_32, are expected")
    if model.kind == "quality" and len(outputs) != 1:
        raise ModelError(f"{model.path} is not a quality model: one output, batch x 1, is expected")
    return loaded


def _free_reshapes(graph: GraphProto) -> None:
    """Let each Reshape to a batch of one, such as [1, -1, k], keep a batch of any size."""
    shapes, constants = shapes_of(graph), constants_of(graph)
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        target = constants.get(node.input[1])
        zero_means_keep = not any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
        has_batch_of_one = shapes.get(node.input[0], ())[:1] == (1,)
        if target is None or not has_batch_of_one or target[0] != 1 or -1 not in target or not zero_means_keep:
            continue
        name = f"{node.output[0]}.shape"
        graph.initializer.append(numpy_helper.from_array(np.array([0, *target[1:]], np.int64), name))
        node.input[1] = name


def _free_axes(value: ValueInfoProto, names: tuple[str | None, ...]) -> None:
    for dim, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        if name is not None and dim.HasField("dim_value"):
            dim.dim_param = name
