from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fiqa_worker.models.graph import constants_of, inputs_of, shapes_of
from tests.worker.models import graphs


@pytest.fixture
def graph(tmp_path: Path) -> onnx.GraphProto:
    return onnx.load(graphs.quality(tmp_path / "model.onnx").path).graph


def test_the_weights_that_old_files_list_are_not_inputs(graph: onnx.GraphProto) -> None:
    stored = helper.make_tensor_value_info("stem_conv.w", TensorProto.FLOAT, [8, 3, 7, 7])
    graph.input.append(stored)
    assert [value.name for value in inputs_of(graph)] == ["input"]


def test_constants_are_stored_or_made_by_a_node(graph: onnx.GraphProto) -> None:
    value = numpy_helper.from_array(np.arange(3, dtype=np.float32))
    graph.node.append(helper.make_node("Constant", [], ["three"], value=value))
    constants = constants_of(graph)
    np.testing.assert_array_equal(constants["three"], [0, 1, 2])
    assert constants["stem_slope"].shape == (8, 1, 1)
    assert "input" not in constants


def test_a_free_axis_has_no_size(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    shapes = shapes_of(graph)
    assert shapes["input"] == (None, 3, 112, 112)
    assert shapes["quality"] == (1, 1)
    assert shapes["stem_conv"] == (1, 8, 16, 16)
