from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import open_session
from fiqa_worker.settings import Device
from tests.worker.models import graphs

PROVIDERS = {
    Device.CUDA: "CUDAExecutionProvider",
    Device.TENSORRT: "TensorrtExecutionProvider",
    Device.OPENVINO: "OpenVINOExecutionProvider",
}


@pytest.mark.parametrize("device", [Device.AUTO, Device.CPU])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_runs_a_batch(device: Device, threads: int, tmp_path: Path) -> None:
    session = open_session(graphs.quality(tmp_path / "model.onnx"), device, threads=threads)
    assert session.output_names == ["quality"]
    (scores,) = session.run(np.zeros((1, 3, 112, 112), np.float32))
    assert scores.shape == (1, 1)
    assert scores.dtype == np.float32


def test_a_cpu_takes_one_image_at_a_time_by_default(tmp_path: Path) -> None:
    model = graphs.quality(tmp_path / "model.onnx")
    assert open_session(model, Device.CPU).batch_size == 1
    assert open_session(model, Device.CPU, batch_size=32).batch_size == 32


def test_bound_memory_gives_the_same_outputs_for_batches_of_changing_sizes(tmp_path: Path) -> None:
    model = prepare(graphs.detector(tmp_path / "model.onnx"), tmp_path)
    plain, bound = (open_session(model, Device.CPU, batch_size=size) for size in (1, 32))
    rng = np.random.default_rng(5)
    kept = []
    for count, height, width in ((3, 64, 96), (3, 64, 96), (1, 64, 96), (4, 128, 32), (3, 64, 96)):
        batch = rng.uniform(0, 255, (count, 3, height, width)).astype(np.float32)
        kept.append((plain.run(batch), bound.run(batch)))
    assert bound.output_names == plain.output_names
    for expected, found in kept:  # at the end, since a later run must not change an earlier one's outputs
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("device", PROVIDERS)
def test_a_device_that_is_not_there_says_what_to_install(device: Device, tmp_path: Path) -> None:
    import onnxruntime as ort  # noqa: PLC0415  not before fiqa, which turns its telemetry off

    if PROVIDERS[device] in ort.get_available_providers():
        pytest.skip(f"this onnxruntime has {PROVIDERS[device]}")
    with pytest.raises(
        ModelError, match=rf"FIQA_DEVICE={device}: this onnxruntime has no {PROVIDERS[device]}: install"
    ):
        open_session(graphs.quality(tmp_path / "model.onnx"), device)


def test_the_error_for_a_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"model\.onnx does not load: ") as error:
        open_session(find(str(path), "quality", ""), Device.CPU)
    assert "\n" not in str(error.value)


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    watch = """
import os, sys

class Watch:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Watch())
import fiqa_worker.models.sessions
"""
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.check_output([sys.executable, "-c", watch], env=env, text=True) == "1\n"
