"""Tests whether the models give the right values on this machine, with one drawn face and one portrait.

A wrong score raises no error. Its cause may be a processor, a build of onnxruntime or a cached file. So each worker
scores the same two images at its start. If the right value of a model is known and its value differs, the worker
reports it or refuses to run.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa.contract import SelfTest
from fiqa_worker.errors import ModelError
from fiqa_worker.models.registry import REGISTRY
from fiqa_worker.models.runtime import onnxruntime_version, processor
from fiqa_worker.pipeline.align import CROP_SIZE
from fiqa_worker.pipeline.pipeline import Pipeline

# onnxruntime 1.20, 1.24 and 1.32 give these values to the bit on the processor on which they were measured.
TOLERANCE: Final = 1e-3
TEST_IMAGE_SHA256: Final = "10475436c4c4bd92f814832ba5f20070bb338b319005cec62977df78824928ab"

# The portrait has 512x512 pixels, so a detector looks at the portrait itself and not at a smaller copy.
_DETECT_SIZE: Final = 640
_DETECT_THRESHOLD: Final = 0.5

_COMPARE: Final = "its scores may be wrong, compare them with those of another machine"
_REMEDY: Final = "install another version of onnxruntime, or run the worker on another machine"


@dataclass(frozen=True, slots=True)
class _Known:
    """The right value of a model.

    Attributes:
        value: a quality model's score of the drawn face; a detector's confidence of the portrait's face.
        box: x, y, width and height of that face as shares of the image's side.
        measured_here: whether this project measured it on a CPU. If not, others published it, and it may be wrong.
    """

    value: float
    box: tuple[float, ...] = ()
    measured_here: bool = True


_KNOWN: Final = {
    "builtin_detector": _Known(0.931478, (0.345802, 0.121538, 0.179722, 0.225090)),
    "yunet_2023mar": _Known(0.932000, (0.348251, 0.122720, 0.175354, 0.221416)),
    "builtin_quality": _Known(0.309821),
    # Published within 1e-5, for onnxruntime on a CPU.
    "ediffiqa_tiny_jun2024": _Known(0.5160775, measured_here=False),
}


def drawn_face() -> NDArray[np.uint8]:
    """Draw the face that quality models score: 112 x 112 x 3, BGR. It is scored as it is, without alignment."""
    image = np.full((CROP_SIZE, CROP_SIZE, 3), (116, 152, 182), np.uint8)
    cv2.ellipse(image, (56, 55), (34, 43), 0, 0, 360, (168, 198, 232), cv2.FILLED)
    for x in (43, 69):
        cv2.circle(image, (x, 48), 4, (42, 35, 35), cv2.FILLED)
    cv2.ellipse(image, (56, 69), (15, 7), 0, 10, 170, (55, 55, 120), 2)
    return image


def run_self_test(pipeline: Pipeline) -> SelfTest:
    """Run both models of a pipeline on their test images. It takes 20 ms of processor time.

    On a CPU, a value must be the one that this project has measured. Other devices round more coarsely (TF32, bf16), so
    on them a different value is only a warning. A value that differs from one that others published is only a warning,
    too.

    Raises:
        ModelError: on a CPU, a value differs from the measured one; or a value is not a number.
    """
    drawn = drawn_face()
    quality = float(pipeline.scorer.score(drawn[np.newaxis])[0])
    confidence, box = _most_confident(pipeline)
    known_quality, known_detector = _known(pipeline.identity.quality_model), _known(pipeline.identity.detector)
    warnings = []
    # Another version of OpenCV may draw other lines. Then the score cannot be compared.
    if hashlib.sha256(drawn.tobytes()).hexdigest() != TEST_IMAGE_SHA256:
        known_quality = None
        warnings.append(f"self-test: OpenCV {cv2.__version__} draws another test image: its score was not compared")
    for name, known, value, found in (
        (pipeline.identity.quality_model, known_quality, quality, ()),
        (pipeline.identity.detector, known_detector, confidence, box),
    ):
        problem = _problem(name, known, value, found, pipeline.identity.device)
        is_certain = known is not None and known.measured_here and pipeline.identity.device == "cpu"
        if problem and (is_certain or not math.isfinite(value)):
            raise ModelError(f"{problem}: {_REMEDY}")
        if problem:
            warnings.append(f"{problem}: {_COMPARE}")
    verdict = "passed" if known_quality and known_detector else "noted"
    return SelfTest(
        verdict="differs" if warnings else verdict,
        quality=quality,
        confidence=confidence,
        warning="; ".join(warnings),
    )


def _known(model: str) -> _Known | None:
    """Return the right value of a model, if it is known.

    The hash identifies the model: an official file may be given by path.
    """
    digest = model.rpartition("@")[2]
    return next((known for name, known in _KNOWN.items() if REGISTRY[name].sha256[:8] == digest), None)


def _most_confident(pipeline: Pipeline) -> tuple[float, tuple[float, ...]]:
    """Return the confidence and the box of the portrait's face; 0 and an empty box if the detector finds none."""
    portrait = _portrait()
    # The settings of the worker decide which faces it reports, not which values its model gives.
    found = pipeline.detector.with_settings(threshold=_DETECT_THRESHOLD, size=_DETECT_SIZE).detect(portrait)
    if not len(found):
        return 0.0, ()
    best = int(np.argmax(found.confidences))
    return float(found.confidences[best]), tuple((found.boxes[best] / portrait.shape[0]).tolist())


@cache
def _portrait() -> NDArray[np.uint8]:
    data = resources.files("fiqa_worker").joinpath("demo", "portrait", "astronaut.jpg").read_bytes()
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _problem(name: str, known: _Known | None, value: float, box: tuple[float, ...], device: str) -> str:
    where = f"on {processor()}, {device}, {onnxruntime_version()}"
    if not math.isfinite(value):
        return f"self-test: {name} gives {value} for its test image, {where}"
    if known is None:
        return ""
    if abs(value - known.value) > TOLERANCE:
        expected = f"{known.value:.5f}" if known.measured_here else f"{known.value:.5f}, which is published"
        return f"self-test: {name} gives {value:.5f} for its test image, {where}; expected {expected}"
    if known.box and max(abs(one - other) for one, other in zip(box, known.box, strict=True)) > TOLERANCE:
        return f"self-test: {name} finds the face of its test image in another place, {where}"
    return ""
