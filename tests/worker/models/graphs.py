"""Small models with random weights and the interfaces of real detectors and quality models, with fixed axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fiqa_worker.models.locate import ModelFile, find
from fiqa_worker.models.registry import Kind

SIDE = 64  # of the image that the detector takes
_WIDTH = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


class _Graph:
    """Nodes and weights in the order in which they were added. Each output has the name of its node."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def random(self, name: str, shape: Sequence[int]) -> str:
        return self.constant(name, self._rng.normal(0, 0.4, shape).astype(np.float32))

    def add(self, op: str, name: str, *inputs: str, **attributes: int | list[int]) -> str:
        node = helper.make_node(op, inputs, [name])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def conv(self, name: str, x: str, shape: Sequence[int], **attributes: int | list[int]) -> str:
        return self.add(
            "Conv", name, x, self.random(f"{name}.w", shape), self.random(f"{name}.b", shape[:1]), **attributes
        )

    def save(self, path: Path, input_shape: Sequence[int], outputs: dict[str, Sequence[int]]) -> None:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)  # with fixed sizes of all values


def detector(path: Path) -> ModelFile:
    """Write a detector with YuNet's twelve outputs. It takes one 64x64 image, as a published model takes one size."""
    graph = _Graph(seed=1)
    for part, width in _WIDTH.items():
        graph.constant(f"shape_{part}", np.array([1, -1, width], np.int64))
    scaled = graph.add("Mul", "scaled", "input", graph.constant("scale", np.array(1 / 255, np.float32)))
    features = graph.add("Relu", "stem", graph.conv("stem_conv", scaled, (8, 3, 8, 8), strides=[8, 8]))
    outputs: dict[str, Sequence[int]] = {}
    for stride in (8, 16, 32):
        if stride > 8:
            features = graph.add("MaxPool", f"features_{stride}", features, kernel_shape=[2, 2], strides=[2, 2])
        for part, width in _WIDTH.items():
            name = f"{part}_{stride}"
            head = graph.conv(f"{name}_conv", features, (width, 8, 1, 1))
            last = graph.add("Transpose", f"{name}_last", head, perm=[0, 2, 3, 1])
            if part in {"cls", "obj"}:
                graph.add("Sigmoid", name, graph.add("Reshape", f"{name}_flat", last, f"shape_{part}"))
            else:
                graph.add("Reshape", name, last, f"shape_{part}")
            outputs[name] = (1, (SIDE // stride) ** 2, width)
    graph.save(path, (1, 3, SIDE, SIDE), outputs)
    return find(str(path), "detector", "")


def quality(path: Path) -> ModelFile:
    """Write a quality model with PRelus over an image and over a vector. It takes one crop, as published models do."""
    graph = _Graph(seed=2)
    x = graph.conv("stem_conv", "input", (8, 3, 7, 7), strides=[7, 7])
    x = graph.add("PRelu", "stem", x, graph.random("stem_slope", (8, 1, 1)))
    x = graph.conv("depthwise_conv", x, (8, 1, 3, 3), group=8, pads=[1, 1, 1, 1])
    x = graph.add("PRelu", "depthwise", x, graph.random("depthwise_slope", (8, 1, 1)))
    x = graph.add("PRelu", "shared", x, graph.random("shared_slope", (1, 1, 1)))
    x = graph.conv("narrow_conv", x, (4, 8, 16, 16))
    x = graph.add("Reshape", "flat", x, graph.constant("flat_shape", np.array([1, -1], np.int64)))
    x = graph.add("Gemm", "embedding", x, graph.random("embedding_w", (4, 16)), graph.random("embedding_b", (16,)))
    x = graph.add("PRelu", "head", x, graph.random("head_slope", (16,)))
    graph.add("Gemm", "quality", x, graph.random("quality_w", (16, 1)), graph.random("quality_b", (1,)))
    graph.save(path, (1, 3, 112, 112), {"quality": (1, 1)})
    return find(str(path), "quality", "")


def published(kind: Kind, path: Path) -> ModelFile:
    return detector(path) if kind == "detector" else quality(path)
