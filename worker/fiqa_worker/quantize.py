"""A quality model and photos -> its static int8 form, and how far that one's scores are from the float model's."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper, shape_inference, version_converter

from fiqa_worker.errors import ImageFailure, ModelError
from fiqa_worker.models.prepare import prepare
from fiqa_worker.models.registry import ModelFile, find, write_atomically
from fiqa_worker.models.sessions import open_session, write_int8
from fiqa_worker.pipeline.align import align
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.settings import Device

Crops: TypeAlias = NDArray[np.uint8]
Progress: TypeAlias = Callable[[int], object]

MIN_FACES: Final = 200
_SEED: Final = 8  # which photos are taken: the same ones each time
_LEAST_OPSET: Final = 13  # the first with a scale for every channel of a weight
_QUANTIZED: Final = frozenset({"DequantizeLinear", "QLinearConv", "ConvInteger"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an int8 model's scores may be from the float model's: at most, at most, at least."""

    mean: float = 0.01
    p99: float = 0.05
    rank: float = 0.98


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models' scores of the same faces are apart.

    Attributes:
        faces: how many were compared.
        mean: of the differences, each taken as positive; p99 is their 99th percentile.
        rank: Spearman's rank correlation; 0 where one model gives every face the same score.
        time_ratio: the second model's time a face over the first one's, on one thread of this machine.
    """

    faces: int
    mean: float
    p99: float
    rank: float
    time_ratio: float

    def beyond(self, limits: Limits) -> list[str]:
        """What is beyond a limit, in words; empty where all is within."""
        checks = (
            (self.mean <= limits.mean, f"the mean difference is over {limits.mean:g}"),
            (self.p99 <= limits.p99, f"the 99th percentile is over {limits.p99:g}"),
            (self.rank >= limits.rank, f"the rank correlation is under {limits.rank:g}"),
        )
        return [text for within, text in checks if not within]

    def report(self, limits: Limits) -> str:
        """A line a number, with its limit."""
        return (
            f"score difference, mean             {self.mean:.4f}  (limit {limits.mean:g})\n"
            f"score difference, 99th percentile  {self.p99:.4f}  (limit {limits.p99:g})\n"
            f"rank correlation                   {self.rank:.4f}  (limit {limits.rank:g})\n"
            f"time a face, int8 over float       {self.time_ratio:.2f}"
        )


def collect_faces(
    photos: Sequence[Path],
    detector: Detector,
    *,
    faces: int,
    max_pixels: int,
    min_faces: int = MIN_FACES,
    progress: Progress = lambda _: None,
) -> tuple[Crops, Crops]:
    """Find faces to calibrate with, and as many others to compare scores on.

    Photos are taken in an order that is random and the same each time, until there are enough faces. All faces of a
    photo go to the same side. A photo that cannot be read is passed over.

    Args:
        photos: image files.
        detector: finds the faces.
        faces: of both sides together that are enough.
        max_pixels: of a photo; a larger one is passed over.
        min_faces: of both sides together that are needed.
        progress: told how many there are so far.

    Returns:
        Two arrays of aligned faces, each N x 112 x 112 x 3, BGR.

    Raises:
        ModelError: there are too few faces.
    """
    sides: tuple[list[Crops], list[Crops]] = ([], [])
    for path in random.Random(_SEED).sample(photos, len(photos)):  # noqa: S311  no secret
        try:
            image = decode(path.read_bytes(), max_pixels=max_pixels)
        except (ImageFailure, OSError):
            continue
        side = min(sides, key=len)
        side.extend(align(image, landmarks) for landmarks in detector.detect(image).landmarks)
        found = sum(map(len, sides))
        progress(min(found, faces))
        if found >= faces and min(map(len, sides)) >= min_faces // 2:
            break
    if min(map(len, sides)) < min_faces // 2:
        raise ModelError(
            f"{len(sides[0])} faces to calibrate with and {len(sides[1])} to compare scores on were found in "
            f"{len(photos)} photos, and {min_faces // 2} of each are needed: give a folder with more photos"
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
    """Make the static int8 form of a quality model, compare it with the float one, and write it where they agree.

    Args:
        model: a float model, as `find` returned it.
        calibration: N x 112 x 112 x 3, BGR: faces whose activations set the ranges.
        held_out: N x 112 x 112 x 3, BGR: other faces, on which scores are compared.
        output: an .onnx file to write.
        limits: beyond them nothing is written.
        progress: told how many faces were run, of len(calibration) + len(held_out).

    Returns:
        How far the scores are apart, and the written model, None where they are too far.

    Raises:
        ModelError: the model cannot be quantized, or the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="fiqa-") as name:
        folder = Path(name)
        before = QualityScorer(open_session(prepare(model, folder), Device.CPU))
        source, int8 = folder / "float.onnx", folder / "int8.onnx"
        onnx.save(without_prelu(model.path), source)
        write_int8(source, int8, _batches(calibration), progress=progress)
        # As a worker will run it: given by path, and prepared.
        after = QualityScorer(open_session(prepare(find(str(int8), "quality", ""), folder), Device.CPU))
        agreement = compare(before, after, held_out, progress=lambda done: progress(len(calibration) + done))
        if agreement.beyond(limits):
            return agreement, None
        write_atomically(output, int8.read_bytes())
    return agreement, find(str(output), "quality", "")


def compare(
    before: QualityScorer, after: QualityScorer, crops: Crops, *, progress: Progress = lambda _: None
) -> Agreement:
    """Score every face with both models, in turn, so that whatever else runs here slows both.

    Args:
        before: of the float model.
        after: of the int8 model.
        crops: N x 112 x 112 x 3, BGR.
        progress: told how many faces were scored.
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
    """Spearman's: 1 where both have the same order, -1 where one is the other's reverse; equal values share a rank."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[where]
    return ranks


class _Recorder:
    """A session that only keeps what it is given."""

    output_names: Final = ["quality"]
    batch_size: Final = 1

    def __init__(self) -> None:
        self.batches: list[NDArray[np.float32]] = []

    def run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self.batches.append(batch.copy())
        return [np.zeros((len(batch), 1), np.float32)]


def _batches(crops: Crops) -> list[NDArray[np.float32]]:
    """What the scorer feeds to a quality model."""
    recorder = _Recorder()
    QualityScorer(recorder).score(crops)
    return recorder.batches


def without_prelu(path: Path) -> onnx.ModelProto:
    """The float model with every PRelu over an image in the form that costs least in int8.

    onnxruntime quantizes no PRelu, and the form that `prepare` gives it, two convolutions and two Relus, eats up what
    int8 gains elsewhere. PRelu(x) = x + relu((a - 1) * x) where no slope a is over 1: one depthwise 1x1 convolution.
    """
    model = onnx.load(path)
    if any(opset.domain == "" and opset.version < _LEAST_OPSET for opset in model.opset_import):
        model = version_converter.convert_version(model, _LEAST_OPSET)
    model = shape_inference.infer_shapes(model)
    graph = model.graph
    if any(node.op_type in _QUANTIZED for node in graph.node):
        raise ModelError(f"{path} is quantized already: name a float model in FIQA_QUALITY_MODEL")
    slopes = {stored.name: numpy_helper.to_array(stored) for stored in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        slope = slopes.get(node.input[1]) if node.op_type == "PRelu" else None
        if slope is not None and slope.ndim == 3 and len(slope) > 1:  # noqa: PLR2004  channels x 1 x 1
            nodes.extend(_bent(graph, node, slope))
        else:
            nodes.append(node)
    for index, node in enumerate(nodes):
        node.name = f"{index}_{node.op_type}"  # nodes that stay float are told by name
    del graph.node[:]
    graph.node.extend(nodes)
    # onnxruntime warns of each constant that nobody reads.
    read = {name for node in nodes for name in node.input}
    kept = [stored for stored in graph.initializer if stored.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _bent(graph: GraphProto, node: NodeProto, slope: NDArray[np.generic]) -> Iterator[NodeProto]:
    x, out = node.input[0], node.output[0]
    bend = np.asarray(1 - slope[:, np.newaxis], np.float32)

    def convolution(source: str, name: str, weights: NDArray[np.float32]) -> NodeProto:
        graph.initializer.append(numpy_helper.from_array(weights, f"{name}.weights"))
        return helper.make_node("Conv", [source, f"{name}.weights"], [name], group=len(weights))

    one = bool((bend >= 0).all())
    yield convolution(x, f"{out}.mirrored", -bend if one else -np.ones_like(bend))
    yield helper.make_node("Relu", [f"{out}.mirrored"], [f"{out}.below"])
    if not one:
        yield convolution(f"{out}.below", f"{out}.bent", bend)
    yield helper.make_node("Add", [x, f"{out}.below" if one else f"{out}.bent"], [out])
