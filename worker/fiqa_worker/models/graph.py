"""Facts about an ONNX graph that a rewrite needs: its inputs, its constants and the shapes of its values."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ValueInfoProto, numpy_helper

Shape: TypeAlias = tuple[int | None, ...]


def inputs_of(graph: GraphProto) -> list[ValueInfoProto]:
    """Return the inputs that a caller must give. In old files, the list of inputs also has the stored weights."""
    stored = {initializer.name for initializer in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def constants_of(graph: GraphProto) -> dict[str, NDArray[np.generic]]:
    """Return the stored values, by name: initializers and the outputs of Constant nodes."""
    constants = {stored.name: numpy_helper.to_array(stored) for stored in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def shapes_of(graph: GraphProto) -> dict[str, Shape]:
    """Return the shapes of all values that shape inference knows, by name. A free axis is None."""
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
