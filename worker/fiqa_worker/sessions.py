"""The only file that imports onnxruntime: which device runs a model, on how many threads, and how it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fiqa_worker.errors import ModelError
from fiqa_worker.settings import Device

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"

# A device's providers, best first, and how to get the first of them.
_PROVIDERS: Final = {
    Device.CPU: ((_CPU,), "install fiqa[cpu]"),
    Device.CUDA: ((_CUDA, _CPU), "install fiqa[gpu] in place of fiqa[cpu]"),
    Device.TENSORRT: (("TensorrtExecutionProvider", _CUDA, _CPU), "install fiqa[gpu] in place of fiqa[cpu]"),
    Device.OPENVINO: (("OpenVINOExecutionProvider", _CPU), "install onnxruntime-openvino in place of onnxruntime"),
}


class Session(Protocol):
    """A loaded model with one input."""

    @property
    def output_names(self) -> list[str]: ...

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run the model on a batch, N x 3 x H x W, and return its outputs in the order of `output_names`."""
        ...


class _OrtSession:
    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        self.output_names: list[str] = [output.name for output in session.get_outputs()]

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input_name: batch})
        return outputs


def open_session(path: Path, device: Device, *, threads: int = 1) -> Session:
    """Load a prepared model.

    Args:
        path: as `prepare` returned it.
        device: where it runs; auto is CUDA where this onnxruntime has it and a GPU answers, else the CPU.
        threads: of one run. onnxruntime ignores cgroup limits, so it never chooses for itself.

    Raises:
        ModelError: the device is not available here, or the file does not load.
    """
    available = ort.get_available_providers()
    wanted = device
    if device is Device.AUTO:
        wanted = Device.CUDA if _CUDA in available else Device.CPU
    providers, remedy = _PROVIDERS[wanted]
    if providers[0] not in available:
        raise ModelError(f"FIQA_DEVICE={device}: this onnxruntime has no {providers[0]}: {remedy}, or set it to cpu")
    try:
        session = ort.InferenceSession(
            str(path), _options(threads), providers=[name for name in providers if name in available]
        )
    except Exception as error:  # noqa: BLE001  onnxruntime's errors share no class below Exception
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path} does not load: {reason}") from None
    if device is not Device.AUTO and session.get_providers()[0] != providers[0]:
        raise ModelError(f"FIQA_DEVICE={device}: {providers[0]} does not start here: check its driver and libraries")
    return _OrtSession(session)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors; warnings speak of optimisations that nobody can act on
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the other workers want that core
    return options
