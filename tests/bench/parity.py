"""How far fiqa's steps are from OpenCV's, and the prepared models from the published ones.

    python -m tests.bench parity --data FOLDER --models FOLDER [--quality FILE]

The folder of --models holds face_detection_yunet_2023mar.onnx, and ediffiqa_tiny_jun2024.onnx or the file of --quality.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.progress import track

from fiqa.errors import FiqaError, UsageError
from fiqa.sources.lines import IMAGE_SUFFIXES
from fiqa_worker.errors import ImageFailure
from fiqa_worker.models.locate import find
from fiqa_worker.models.prepare import prepare, prepared_dirs
from fiqa_worker.models.registry import Kind
from fiqa_worker.models.sessions import Session, open_session
from fiqa_worker.pipeline.align import align
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.detect import Detector
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.settings import Device, WorkerSettings
from tests.bench.reference import NMS_IOU, TOP_K, blob, published, run

SIZE = 640
THRESHOLD = 0.7
MAX_PIXELS = 100_000_000
TIMED_ROUNDS = 200


@dataclass
class Differences:
    """The largest differences, and on how many images and faces they were found."""

    images: int = 0
    faces: int = 0
    other_faces: int = 0
    points: float = 0.0
    scores: float = 0.0
    models: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--quality", default="ediffiqa_tiny_jun2024.onnx")
    options = parser.parse_args()
    try:
        report(options)
    except FiqaError as error:
        sys.exit(f"bench: {error}")


def report(options: argparse.Namespace) -> None:
    """Compare, time, and print the figures.

    Raises:
        UsageError: a model or the images are missing.
        ModelError: a model does not load.
    """
    cv2.setNumThreads(1)
    detector_path, quality_path = options.models / "face_detection_yunet_2023mar.onnx", options.models / options.quality
    images = sorted(path for path in options.data.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    for path in (detector_path, quality_path):
        if not path.is_file():
            raise UsageError(f"--models {options.models}: it does not hold {path.name}")
    if not images:
        raise UsageError(f"--data {options.data}: there are no images in this folder")
    scorer = QualityScorer(_prepared(quality_path, "quality"))

    found = compare(images, detector_path, quality_path, scorer)
    print(f"{found.images} images, {found.faces} faces, long side {SIZE}, threshold {THRESHOLD}")
    print(f"images with other faces than cv2.FaceDetectorYN's   {found.other_faces}")
    print(f"boxes and landmarks from cv2.FaceDetectorYN's       {found.points:.2e} px at most")
    print(f"scores from cv2.dnn's on the same crops             {found.scores:.2e} at most")
    print(f"prepared models from the published ones             {found.models:.2e} at most")

    print(f"one thread, onnxruntime {ort.__version__}:")
    portrait = decode(
        resources.files("fiqa_worker").joinpath("demo", "portrait", "astronaut.jpg").read_bytes(), max_pixels=MAX_PIXELS
    )
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    # onnxruntime's PRelu costs more if the signs of its input are random, so noise makes the prepared form look better.
    for name, crop in (("a face", np.ascontiguousarray(portrait[62:174, 167:279])), ("noise", noise)):
        prepared_ms, published_ms = times(crop, scorer, published(quality_path))
        ratio = prepared_ms / published_ms
        print(f"{name:7} prepared {prepared_ms:5.2f} ms, published {published_ms:5.2f} ms, ratio {ratio:.2f}")


def compare(images: Sequence[Path], detector_path: Path, quality_path: Path, scorer: QualityScorer) -> Differences:
    """Run every step on every image, on the copy that detection looks at."""
    prepared_detector = _prepared(detector_path, "detector")
    published_quality, published_detector = published(quality_path), published(detector_path)
    detector = Detector(prepared_detector, threshold=THRESHOLD, size=SIZE, nms_iou=NMS_IOU, top_k=TOP_K)
    theirs = cv2.FaceDetectorYN.create(str(detector_path), "", (SIZE, SIZE), THRESHOLD, NMS_IOU, TOP_K)
    network = cv2.dnn.readNetFromONNX(str(quality_path))
    largest = Differences()
    for path in track(images, "comparing"):
        try:
            pixels = _scaled(decode(path.read_bytes(), max_pixels=MAX_PIXELS))
        except ImageFailure:
            continue
        largest.images += 1
        found = detector.detect(pixels)
        theirs.setInputSize((pixels.shape[1], pixels.shape[0]))
        expected = theirs.detect(pixels)[1]
        rows = np.zeros((0, 15), np.float32) if expected is None else np.asarray(expected, np.float32)
        if len(rows) != len(found):
            largest.other_faces += 1
            continue
        rows = rows[np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")]
        ours = np.hstack([found.boxes, found.landmarks.reshape(-1, 10)])
        largest.points = max(largest.points, float(np.abs(ours - rows[:, :14]).max(initial=0)))
        for landmarks in found.landmarks:
            crop = align(pixels, landmarks)
            batch = blob(crop)
            network.setInput(batch)
            score = scorer.score(crop[np.newaxis])[0]
            largest.scores = max(largest.scores, float(np.abs(network.forward() - score).max()))
            largest.models = max(largest.models, float(np.abs(run(published_quality, batch)[0] - score).max()))
            largest.faces += 1
        # The published detector takes only this size.
        square = np.asarray(cv2.dnn.blobFromImage(cv2.resize(pixels, (SIZE, SIZE))), np.float32)
        for mine, expected in zip(prepared_detector.run(square), run(published_detector, square), strict=True):
            largest.models = max(largest.models, float(np.abs(mine - expected).max()))
    return largest


def times(crop: NDArray[np.uint8], scorer: QualityScorer, other: ort.InferenceSession) -> tuple[float, float]:
    """Return the milliseconds a crop of both. They run in turn, so that other load slows both."""
    prepared_s, published_s = [], []
    for _ in range(TIMED_ROUNDS):
        started = time.perf_counter()
        scorer.score(crop[np.newaxis])
        prepared_s.append(time.perf_counter() - started)
        started = time.perf_counter()
        run(other, blob(crop))
        published_s.append(time.perf_counter() - started)
    return 1000 * median(prepared_s), 1000 * median(published_s)


def _prepared(path: Path, kind: Kind) -> Session:
    folders = prepared_dirs(WorkerSettings.load().models_dir)
    return open_session(prepare(find(str(path), kind, ""), *folders), Device.CPU)


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the copy that detection looks at, so that both detectors see the same pixels."""
    height, width = pixels.shape[:2]
    scale = min(1.0, SIZE / max(height, width))
    return np.asarray(cv2.resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale)))), np.uint8)
