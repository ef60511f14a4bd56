"""The only file that imports onnxruntime: which device runs a model, on how many threads, and how it is called."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fiqa_worker.errors import ModelError
from fiqa_worker.models.locate import ModelFile
from fiqa_worker.settings import Device

if TYPE_CHECKING:
    import onnx

# On Linux, onnxruntime sends telemetry from version 1.29 on. It looks up a host every two seconds and keeps a device id
# in the cache folder. It reads this variable once, when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

# Fatal errors only. Otherwise each session of a machine without a GPU's driver prints lines that repeat an error below.
ort.set_default_logger_severity(4)

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_TENSORRT: Final = "TensorrtExecutionProvider"
_ON_A_GPU: Final = frozenset({_CUDA, _TENSORRT})

# A GPU is busy only with many images at once. A CPU is faster with one image: 2.6 ms a face alone, 3.0 in batches of 8.
_GPU_BATCH: Final = 32

# The ranges leave out the largest of 10,000 activations. This gives the most accurate scores: with one outlier in the
# range, all other values would be coarse.
_PERCENTILE: Final = 99.99
# Calibration holds all activations of this many batches at a time.
_CALIBRATED_AT_ONCE: Final = 8

# For each device: its providers, best first, and how to get the first one.
_PROVIDERS: Final = {
    Device.CPU: ((_CPU,), "install fiqa[cpu]"),
    Device.CUDA: ((_CUDA, _CPU), "install fiqa[gpu] in place of fiqa[cpu]"),
    Device.TENSORRT: ((_TENSORRT, _CUDA, _CPU), "install fiqa[gpu] in place of fiqa[cpu]"),
    Device.OPENVINO: (("OpenVINOExecutionProvider", _CPU), "install onnxruntime-openvino in place of onnxruntime"),
}


class Session(Protocol):
    """A loaded model with one input.

    Attributes:
        output_names: the names of the outputs, in the order of `run`.
        batch_size: how many images one run should take.
        device: where it runs, such as cpu or cuda.
    """

    @property
    def output_names(self) -> list[str]: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def device(self) -> str: ...

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run the model on a batch, N x 3 x H x W, and return its outputs in the order of `output_names`."""
        ...


class _OrtSession:
    batch_size = 1

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        self.output_names: list[str] = [output.name for output in session.get_outputs()]
        self.device = _device_of(session)

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input_name: batch})
        return outputs


class _BatchSession:
    """Runs batches. As long as the shape of the batch is the same, the memory of the input stays on the device."""

    def __init__(self, session: ort.InferenceSession, batch_size: int) -> None:
        self._session = session
        self.batch_size = batch_size
        self.output_names: list[str] = [output.name for output in session.get_outputs()]
        self.device = _device_of(session)
        self._device = "cuda" if session.get_providers()[0] in _ON_A_GPU else "cpu"
        self._binding = session.io_binding()
        self._input: ort.OrtValue | None = None

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if self._input is not None and self._input.shape() == list(batch.shape):
            self._input.update_inplace(batch)
        else:
            self._input = ort.OrtValue.ortvalue_from_numpy(batch, self._device, 0)
            self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, self._input)
        for name in self.output_names:  # bound again for each run: a bound output must keep its shape
            self._binding.bind_output(name)
        self._session.run_with_iobinding(self._binding)
        outputs: list[NDArray[np.float32]] = self._binding.copy_outputs_to_cpu()
        return outputs


def open_session(model: ModelFile, device: Device, *, threads: int = 1, batch_size: int | None = None) -> Session:
    """Load a model.

    Args:
        model: a model as `prepare` returned it. Its `data` is loaded.
        device: the device. auto is CUDA if this onnxruntime has it and a GPU answers, else the CPU.
        threads: the number of threads of one run. It is always set, since onnxruntime ignores cgroup limits.
        batch_size: the number of images that one run should take. None: the number that suits the device.

    Raises:
        ModelError: the device is not available here, or the model does not load.
    """
    available = available_providers()
    wanted = device
    if device is Device.AUTO:
        wanted = Device.CUDA if _CUDA in available else Device.CPU
    providers, remedy = _PROVIDERS[wanted]
    if providers[0] not in available:
        raise ModelError(f"FIQA_DEVICE={device}: this onnxruntime has no {providers[0]}: {remedy}, or set it to cpu")
    try:
        with redirect_stdout(io.StringIO()):  # it prints which provider it tries next: the error below is enough
            session = ort.InferenceSession(
                model.data, _options(threads), providers=[name for name in providers if name in available]
            )
    except Exception as error:  # noqa: BLE001  onnxruntime's errors share no class below Exception
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{model.path} does not load: {reason}") from None
    if device is not Device.AUTO and session.get_providers()[0] != providers[0]:
        raise ModelError(
            f"FIQA_DEVICE={device}: {providers[0]} does not start here: check its driver (in Docker: --gpus all)"
            " and libraries, or set it to cpu"
        )
    if batch_size is None:
        batch_size = _GPU_BATCH if session.get_providers()[0] in _ON_A_GPU else 1
    return _OrtSession(session) if batch_size == 1 else _BatchSession(session, batch_size)


def available_providers() -> list[str]:
    """Return onnxruntime's names of the devices that it was built for, best first."""
    providers: list[str] = ort.get_available_providers()
    return providers


def _device_of(session: ort.InferenceSession) -> str:
    provider: str = session.get_providers()[0]
    return provider.removesuffix("ExecutionProvider").lower()


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Keep memory from run to run: without it, new pages take a quarter of the time of a detection at 640x640. Even for
    # images of all shapes, this memory is far smaller than what decoding takes.
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3  # errors only: nobody can act on the warnings about optimizations
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes need that core
    return options


def write_int8(
    model: Path, output: Path, batches: Sequence[NDArray[np.float32]], *, progress: Callable[[int], object]
) -> None:
    """Write the static int8 form of a float model. The nodes after the last convolution stay float.

    Weights have 7 bits. With 8 bits, processors without VNNI would saturate, and give other scores than processors with
    it.

    Args:
        model: an ONNX file whose nodes have names.
        output: the file to write.
        batches: inputs of the model, run to find the ranges of its activations. The batches after the last full group
            of eight are left out.
        progress: called with the number of batches run so far.

    Raises:
        ModelError: onnxruntime cannot quantize this model.
    """
    # Imported here: a worker needs neither, and they take long to import.
    import onnx  # noqa: PLC0415
    from onnxruntime import quantization  # noqa: PLC0415

    processed = output.with_suffix(".pre.onnx")
    try:
        with redirect_stdout(io.StringIO()):  # it prints its progress
            quantization.quant_pre_process(str(model), str(processed), skip_symbolic_shape=True)
            quantization.quantize_static(
                processed,
                output,
                _Reader(ort.InferenceSession(str(processed), _options(1)).get_inputs()[0].name, batches, progress),
                # QOperator would drop the Relu of a value if another node reads that value too.
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=_after_the_last_convolution(onnx.load(processed)),
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": _PERCENTILE, "CalibStridedMinMax": _CALIBRATED_AT_ONCE},
            )
    except Exception as error:  # onnxruntime's errors share no class below Exception
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"this model cannot be quantized: {reason}") from error


def _after_the_last_convolution(model: onnx.ModelProto) -> list[str]:
    nodes = model.graph.node
    last = max((index for index, node in enumerate(nodes) if node.op_type == "Conv"), default=-1)
    return [node.name for node in nodes[last + 1 :]]


class _Reader:
    """Gives the batches to onnxruntime's calibration, which asks for them group by group."""

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
