"""The only file that imports onnxruntime: which device runs a model, on how many threads, and how it is called."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from fiqa_worker.errors import ModelError
from fiqa_worker.settings import Device

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_TENSORRT: Final = "TensorrtExecutionProvider"
_ON_A_GPU: Final = frozenset({_CUDA, _TENSORRT})

# A GPU is busy only with many images at once; on a CPU one is quicker alone than in a batch.
_GPU_BATCH: Final = 32

# Ranges that hold all but the largest of 10,000 activations keep scores best: an outlier no longer coarsens all others.
_PERCENTILE: Final = 99.99
# Every activation of that many batches is held at a time.
_CALIBRATED_AT_ONCE: Final = 8

# A device's providers, best first, and how to get the first of them.
_PROVIDERS: Final = {
    Device.CPU: ((_CPU,), "install fiqa[cpu]"),
    Device.CUDA: ((_CUDA, _CPU), "install fiqa[gpu] in place of fiqa[cpu]"),
    Device.TENSORRT: ((_TENSORRT, _CUDA, _CPU), "install fiqa[gpu] in place of fiqa[cpu]"),
    Device.OPENVINO: (("OpenVINOExecutionProvider", _CPU), "install onnxruntime-openvino in place of onnxruntime"),
}


class Session(Protocol):
    """A loaded model with one input.

    Attributes:
        output_names: as `run` orders them.
        batch_size: how many images one run should take.
    """

    @property
    def output_names(self) -> list[str]: ...

    @property
    def batch_size(self) -> int: ...

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run the model on a batch, N x 3 x H x W, and return its outputs in the order of `output_names`."""
        ...


class _OrtSession:
    batch_size = 1

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        self.output_names: list[str] = [output.name for output in session.get_outputs()]

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input_name: batch})
        return outputs


class _BatchSession:
    """Keeps the input's memory on the device from run to run, as long as the batch has the same shape."""

    def __init__(self, session: ort.InferenceSession, batch_size: int) -> None:
        self._session = session
        self.batch_size = batch_size
        self.output_names: list[str] = [output.name for output in session.get_outputs()]
        self._device = "cuda" if session.get_providers()[0] in _ON_A_GPU else "cpu"
        self._binding = session.io_binding()
        self._input: ort.OrtValue | None = None

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._input is not None and self._input.shape() == list(batch.shape):
            self._input.update_inplace(batch)
        else:
            self._input = ort.OrtValue.ortvalue_from_numpy(batch, self._device, 0)
            self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, self._input)
        for name in self.output_names:  # anew: an output bound before would have to keep its shape
            self._binding.bind_output(name)
        self._session.run_with_iobinding(self._binding)
        outputs: list[NDArray[np.float32]] = self._binding.copy_outputs_to_cpu()
        return outputs


def open_session(path: Path, device: Device, *, threads: int = 1, batch_size: int | None = None) -> Session:
    """Load a prepared model.

    Args:
        path: as `prepare` returned it.
        device: where it runs; auto is CUDA where this onnxruntime has it and a GPU answers, else the CPU.
        threads: of one run. onnxruntime ignores cgroup limits, so it never chooses for itself.
        batch_size: of the session; None for what suits the device.

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
    if batch_size is None:
        batch_size = _GPU_BATCH if session.get_providers()[0] in _ON_A_GPU else 1
    return _OrtSession(session) if batch_size == 1 else _BatchSession(session, batch_size)


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Memory is kept from run to run: fresh pages cost a detection at 640x640 a quarter of its time, and the memory that
    # the photos of all shapes need stays far below what decoding them takes.
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3  # errors; warnings speak of optimizations that nobody can act on
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the other workers want that core
    return options


def write_int8(
    model: Path, output: Path, batches: Sequence[NDArray[np.float32]], *, progress: Callable[[int], object]
) -> None:
    """Write the static int8 form of a float model; what follows the last convolution stays float.

    Weights have 7 bits: with 8, processors without VNNI saturate, and would give other scores than those with it.

    Args:
        model: an ONNX file whose nodes have names.
        output: the file to write.
        batches: what the model is run on to find the ranges of its activations; what does not fill the last group of
            eight is left out.
        progress: told how many batches were run.

    Raises:
        ModelError: onnxruntime cannot quantize this model.
    """
    from onnxruntime import quantization  # noqa: PLC0415  a worker needs none of it, and it takes its time to import

    processed = output.with_suffix(".pre.onnx")
    try:
        # It prints how it gets on.
        with redirect_stdout(io.StringIO()):
            quantization.quant_pre_process(str(model), str(processed), skip_symbolic_shape=True)
            quantization.quantize_static(
                processed,
                output,
                _Reader(ort.InferenceSession(str(processed), _options(1)).get_inputs()[0].name, batches, progress),
                # Unlike QOperator it keeps the Relu of a value that another node reads as well.
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=_after_the_last_convolution(processed),
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": _PERCENTILE, "CalibStridedMinMax": _CALIBRATED_AT_ONCE},
            )
    except Exception as error:  # onnxruntime's errors share no class below it
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"this model cannot be quantized: {reason}") from error


def _after_the_last_convolution(path: Path) -> list[str]:
    nodes = onnx.load(path).graph.node
    last = max((index for index, node in enumerate(nodes) if node.op_type == "Conv"), default=-1)
    return [node.name for node in nodes[last + 1 :]]


class _Reader:
    """Batches as onnxruntime's calibration asks for them."""

    def __init__(
        self, input_name: str, batches: Sequence[NDArray[np.float32]], progress: Callable[[int], object]
    ) -> None:
        self._input_name = input_name
        self._progress = progress
        self._taken = 0
        self._batches = batches[: len(batches) // _CALIBRATED_AT_ONCE * _CALIBRATED_AT_ONCE]
        self._left: Iterator[NDArray[np.float32]] = iter(())

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._left, None)
        if batch is None:
            return None
        self._taken += 1
        self._progress(self._taken)
        return {self._input_name: batch}
