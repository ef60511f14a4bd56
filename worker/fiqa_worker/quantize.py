"""A quality model and images -> its static int8 form, and how far its scores are from the float model's."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import shape_inference, version_converter

from fiqa_worker.errors import ImageFailure, ModelError
from fiqa_worker.models.locate import ModelFile, find, store
from fiqa_worker.models.prelu import int8_form, rewrite_prelus
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.sessions import open_session, write_int8
from fiqa_worker.pipeline.align import align
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.settings import Device

Crops: TypeAlias = NDArray[np.uint8]  # N x 112 x 112 x 3, BGR
Progress: TypeAlias = Callable[[int], object]

MIN_FACES: Final = 200
_SEED: Final = 8  # of the order in which images are taken: the same each time
_LEAST_OPSET: Final = 13  # the first with a scale for every channel of a weight
_QUANTIZED: Final = frozenset({"DequantizeLinear", "QLinearConv", "ConvInteger"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an int8 model's scores may be from the float model's.

    Attributes:
        mean: the largest mean difference.
        p99: the largest 99th percentile of the differences.
        rank: the least rank correlation.
    """

    mean: float = 0.01
    p99: float = 0.05
    rank: float = 0.98


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models' scores of the same faces are apart.

    Attributes:
        faces: how many faces were compared.
        mean: the mean of the absolute differences.
        p99: their 99th percentile.
        rank: Spearman's rank correlation. 0 if one model gives every face the same score.
        time_ratio: the second model's time a face over the first model's, on one thread of this machine.
    """

    faces: int
    mean: float
    p99: float
    rank: float
    time_ratio: float

    def beyond(self, limits: Limits) -> list[str]:
        """Say which limits are exceeded. Empty if none is."""
        checks = (
            (self.mean <= limits.mean, f"the mean difference is over {limits.mean:g}"),
            (self.p99 <= limits.p99, f"the 99th percentile is over {limits.p99:g}"),
            (self.rank >= limits.rank, f"the rank correlation is under {limits.rank:g}"),
        )
        return [text for within, text in checks if not within]

    def report(self, limits: Limits) -> str:
        """Return one line for each number, with its limit."""
        return (
            f"score difference, mean             {self.mean:.4f}  (limit {limits.mean:g})\n"
            f"score difference, 99th percentile  {self.p99:.4f}  (limit {limits.p99:g})\n"
            f"rank correlation                   {self.rank:.4f}  (limit {limits.rank:g})\n"
            f"time a face, int8 over float       {self.time_ratio:.2f}"
        )


def collect_faces(
    images: Sequence[Path],
    detector: Detector,
    *,
    faces: int,
    max_pixels: int,
    min_faces: int = MIN_FACES,
    progress: Progress = lambda _: None,
) -> tuple[Crops, Crops]:
    """Find faces to calibrate with, and as many others to compare scores on.

    Images are taken in a random order, which is the same each time, until there are enough faces. All faces of one
    image go to the same side. An image that cannot be read is skipped.

    Args:
        images: image files.
        detector: finds the faces.
        faces: the search ends with so many faces on both sides together.
        max_pixels: size limit of an image. A larger one is skipped.
        min_faces: so many faces on both sides together are needed.
        progress: called with the number of faces found so far.

    Returns:
        Two arrays of aligned faces, each N x 112 x 112 x 3, BGR.

    Raises:
        ModelError: there are too few faces.
    """
    sides: tuple[list[Crops], list[Crops]] = ([], [])
    for path in random.Random(_SEED).sample(images, len(images)):  # noqa: S311  not a secret
        try:
            pixels = decode(path.read_bytes(), max_pixels=max_pixels)
        except (ImageFailure, OSError):
            continue
        side = min(sides, key=len)
        side.extend(align(pixels, landmarks) for landmarks in detector.detect(pixels).landmarks)
        found = sum(map(len, sides))
        progress(min(found, faces))
        if found >= faces and min(map(len, sides)) >= min_faces // 2:
            break
    if min(map(len, sides)) < min_faces // 2:
        raise ModelError(
            f"{len(sides[0])} faces to calibrate with and {len(sides[1])} to compare scores on were found in "
            f"{len(images)} images, but {min_faces // 2} of each are needed: give a folder with more images"
        )
    calibration, held_out = (np.stack(side) for side in sides)
    return calibration, held_out


def quantize(
    model: ModelFile,
    calibration: Crops,
    held_out: Crops,
    output: Path,
    *,
    limits: Limits,
    progress: Progress = lambda _: None,
) -> tuple[Agreement, ModelFile | None]:
    """Make the static int8 form of a quality model, compare it with the float model, and write it if they agree.

    Args:
        model: a float model, as `find` returned it.
        calibration: N x 112 x 112 x 3 uint8 BGR, faces whose activations set the ranges.
        held_out: N x 112 x 112 x 3 uint8 BGR, other faces to compare scores on.
        output: an .onnx file to write.
        limits: nothing is written if one is exceeded.
        progress: called with the number of faces that were run, of len(calibration) + len(held_out).

    Returns:
        How far the scores are apart, and the written model, or None if they are too far apart.

    Raises:
        ModelError: the model cannot be quantized, or the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="fiqa-") as name:
        folder = Path(name)
        before = QualityScorer(open_session(prepare(model, folder), Device.CPU))
        source, int8 = folder / "float.onnx", folder / "int8.onnx"
        onnx.save(without_prelu(model), source)
        write_int8(source, int8, _batches(calibration), progress=progress)
        # The way a worker will load it: given by path, then prepared.
        after = QualityScorer(open_session(prepare(find(str(int8), "quality", ""), folder), Device.CPU))
        agreement = compare(before, after, held_out, progress=lambda done: progress(len(calibration) + done))
        if agreement.beyond(limits):
            return agreement, None
        store(output, int8.read_bytes(), remedy="choose a writable folder with -o")
    return agreement, find(str(output), "quality", "")


def compare(
    before: QualityScorer, after: QualityScorer, crops: Crops, *, progress: Progress = lambda _: None
) -> Agreement:
    """Score every face with both models in turn, so that other load on this machine slows both.

    Args:
        before: scores with the float model.
        after: scores with the int8 model.
        crops: N x 112 x 112 x 3 uint8 BGR.
        progress: called with the number of faces that were scored.
    """
    scores = np.empty((2, len(crops)))
    seconds = np.empty((2, len(crops)))
    for index in range(len(crops)):
        for row, scorer in enumerate((before, after)):
            started = time.perf_counter()
            scores[row, index] = scorer.score(crops[index : index + 1])[0]
            seconds[row, index] = time.perf_counter() - started
        progress(index + 1)
    differences = np.abs(scores[0] - scores[1])
    times = np.median(seconds, axis=1)
    return Agreement(
        faces=len(crops),
        mean=float(differences.mean()),
        p99=float(np.percentile(differences, 99)),
        rank=rank_correlation(scores[0], scores[1]),
        time_ratio=float(times[1] / times[0]),
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation: 1 for the same order, -1 for the reverse. Equal values share a rank."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[where]
    return ranks


class _Recorder:
    """A session that keeps its inputs and computes nothing."""

    output_names: Final = ["quality"]
    batch_size: Final = 1

    def __init__(self) -> None:
        self.batches: list[NDArray[np.float32]] = []

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self.batches.append(batch.copy())
        return [np.zeros((len(batch), 1), np.float32)]


def _batches(crops: Crops) -> list[NDArray[np.float32]]:
    """Return the inputs that the scorer gives to a quality model for these faces."""
    recorder = _Recorder()
    QualityScorer(recorder).score(crops)
    return recorder.batches


def without_prelu(model: ModelFile) -> onnx.ModelProto:
    """Return the float model with each PRelu over an image in its int8 form, and with names for all nodes.

    Raises:
        ModelError: the model is quantized already.
    """
    loaded = onnx.load_from_string(model.data)
    if any(opset.domain == "" and opset.version < _LEAST_OPSET for opset in loaded.opset_import):
        loaded = version_converter.convert_version(loaded, _LEAST_OPSET)
    loaded = shape_inference.infer_shapes(loaded)
    graph = loaded.graph
    if any(node.op_type in _QUANTIZED for node in graph.node):
        raise ModelError(f"{model.path} is quantized already: name a float model in FIQA_QUALITY_MODEL")
    rewrite_prelus(graph, int8_form)
    for index, node in enumerate(graph.node):
        node.name = f"{index}_{node.op_type}"  # onnxruntime takes the nodes that stay float by name
    # onnxruntime warns of each constant that no node reads.
    read = {name for node in graph.node for name in node.input}
    kept = [stored for stored in graph.initializer if stored.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return loaded
