from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx

from fiqa_worker.models.prepare import prepare
from tests.worker.models import graphs


def test_a_prelu_is_rewritten_only_over_an_image_and_with_one_slope_per_channel(tmp_path: Path) -> None:
    prepared = onnx.load_from_string(prepare(graphs.quality(tmp_path / "model.onnx"), tmp_path).data)
    operators = Counter(node.op_type for node in prepared.graph.node)
    assert operators["PRelu"] == 2  # the one slope that all channels share, and the one over a vector
    assert operators["Relu"] == 4
    assert len(prepared.graph.value_info) == 0
