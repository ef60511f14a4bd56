"""Graph surgery on a verified model: free batch and image axes, and PRelu in its fastest exact form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, checker, helper, numpy_helper, shape_inference

from fiqa_worker.errors import ModelError
from fiqa_worker.models.registry import Kind, ModelFile

DETECTOR_OUTPUTS: Final = tuple(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32))
_CHANNELS_AXIS: Final = 1
_IMAGE_RANK: Final = 4


def operate(model: ModelFile) -> bytes:
    """The form of a model that sessions load, as the bytes of a file.

    A detector's batch, height and width become free, a quality model's batch. Every PRelu over an image is
    written with operators that onnxruntime runs several times faster. Results stay what they were.

    Raises:
        ModelError: the file is no ONNX model, or lacks the interface of its kind.
    """
    data: bytes = _prepared(_load(model), model.kind).SerializeToString()
    return data


def _load(model: ModelFile) -> ModelProto:
    try:
        checker.check_model(str(model.path), full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip()
        raise ModelError(f"{model.path} is not an ONNX model that can be used: {reason}") from None
    loaded = shape_inference.infer_shapes(onnx.load(model.path))
    inputs = _inputs(loaded.graph)
    outputs = {output.name for output in loaded.graph.output}
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != _IMAGE_RANK:
        raise ModelError(f"{model.path} is no {model.kind} model: one input of batch x 3 x height x width is expected")
    if model.kind == "detector" and not outputs.issuperset(DETECTOR_OUTPUTS):
        raise ModelError(f"{model.path} is no detector: YuNet's twelve outputs, cls_8 to kps_32, are expected")
    if model.kind == "quality" and len(outputs) != 1:
        raise ModelError(f"{model.path} is no quality model: one output, batch x 1, is expected")
    return loaded


def _prepared(model: ModelProto, kind: Kind) -> ModelProto:
    graph = model.graph
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    constants = dict(_constants(graph))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "PRelu":
            nodes.extend(_fast_prelu(graph, node, shapes, constants))
        else:
            if node.op_type == "Reshape":
                _free_reshape(graph, node, shapes, constants)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # it holds the fixed sizes of what lies between
    _free_axes(_inputs(graph)[0], ("n", None, "h", "w") if kind == "detector" else ("n",))
    for output in graph.output:
        _free_axes(output, ("n", f"anchors_{output.name}") if kind == "detector" else ("n",))
    checker.check_model(model, full_check=True)
    return model


def _fast_prelu(
    graph: GraphProto,
    node: NodeProto,
    shapes: dict[str, tuple[int | None, ...]],
    constants: dict[str, NDArray[np.generic]],
) -> Iterator[NodeProto]:
    """Write PRelu(x) as relu(x) - a * relu(-x), with a depthwise 1x1 convolution for each product.

    Each of x's signs leaves one term zero, so the result is PRelu's to the last bit, and all of it stays in
    onnxruntime's blocked layout. A PRelu that has no image axes, or whose slopes are not one constant a channel, stays
    as it is.
    """
    x, slope_name = node.input
    slope = constants.get(slope_name)
    shape = shapes.get(x, ())
    if slope is None or len(shape) != _IMAGE_RANK or slope.shape != (shape[_CHANNELS_AXIS], 1, 1):
        yield node
        return
    out = node.output[0]
    downward = np.negative(slope[:, np.newaxis])
    for name, weights in ((f"{out}.minus_one", -np.ones_like(downward)), (f"{out}.minus_slope", downward)):
        graph.initializer.append(numpy_helper.from_array(weights, name))
    channels = slope.shape[0]
    yield helper.make_node("Relu", [x], [f"{out}.above"])
    yield helper.make_node("Conv", [x, f"{out}.minus_one"], [f"{out}.mirrored"], group=channels)
    yield helper.make_node("Relu", [f"{out}.mirrored"], [f"{out}.below"])
    yield helper.make_node("Conv", [f"{out}.below", f"{out}.minus_slope"], [f"{out}.bent"], group=channels)
    yield helper.make_node("Add", [f"{out}.above", f"{out}.bent"], [out])


def _free_reshape(
    graph: GraphProto,
    node: NodeProto,
    shapes: dict[str, tuple[int | None, ...]],
    constants: dict[str, NDArray[np.generic]],
) -> None:
    """Let a Reshape that keeps the batch of one in front, as [1, -1, k] does, keep a batch of any size there."""
    x, target_name = node.input
    target = constants.get(target_name)
    keeps_batch = shapes.get(x, ())[:1] == (1,) and target is not None and target[0] == 1 and -1 in target
    zero_means_keep = not any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
    if target is None or not keeps_batch or not zero_means_keep:
        return
    name = f"{node.output[0]}.shape"
    graph.initializer.append(numpy_helper.from_array(np.array([0, *target[1:]], np.int64), name))
    node.input[1] = name


def _free_axes(value: ValueInfoProto, names: tuple[str | None, ...]) -> None:
    for dim, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        if name is not None and dim.HasField("dim_value"):
            dim.dim_param = name


def _inputs(graph: GraphProto) -> list[ValueInfoProto]:
    stored = {initializer.name for initializer in graph.initializer}  # old files list them among the inputs
    return [value for value in graph.input if value.name not in stored]


def _constants(graph: GraphProto) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for initializer in graph.initializer:
        yield initializer.name, numpy_helper.to_array(initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], numpy_helper.to_array(node.attribute[0].t)


def _shape(value: ValueInfoProto) -> tuple[int | None, ...]:
    """The sizes of a value's axes, None for a free one."""
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim)
