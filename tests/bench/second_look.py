"""What the second look gives, and what it costs, next to FIQA_SECOND_LOOK=off.

    python -m tests.bench second_look --data FOLDER --models FOLDER [--quality NAME_OR_FILE] [--every N]

FOLDER holds `lfw`, images of one upright face each, and optionally `wider`, scenes with wider_face_val_bbx_gt.txt.
The folder of --models holds YuNet; without it, the built-in detector is measured.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fiqa.contract import Item
from fiqa_worker.models.registry import REGISTRY
from fiqa_worker.pipeline.align import align
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.detect import Detections, scaled_down
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.pipeline.second_look import SecondLook
from fiqa_worker.settings import Decode, WorkerSettings
from tests.bench.image_sets import MAX_PIXELS
from tests.bench.wider import HEIGHTS, Recall, marked

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]

_CLOSE: Final = 0.05
_CLOSE_UP_PX: Final = 800


class _Both:
    """A pipeline's faces with and without the second look."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        assert pipeline.second_look is not None
        self._second: SecondLook = pipeline.second_look

    def find(self, image: Pixels) -> tuple[Detections, Detections]:
        copy = scaled_down(image, self.pipeline.detector.size)
        back = (image.shape[1] / copy.shape[1], image.shape[0] / copy.shape[0])
        first = self.pipeline.detector.detect(copy)
        return first.scaled(back), self._second.improve(copy, first).scaled(back)

    def quality(self, image: Pixels, found: Detections) -> float:
        """Return the quality of the largest face, NaN if there is none."""
        if not len(found):
            return float("nan")
        return float(self.pipeline.scorer.score(align(image, found.landmarks[0])[np.newaxis])[0])


def turned(degrees: int) -> Change:
    return lambda image: np.ascontiguousarray(np.rot90(image, -degrees // 90))


def tilted(degrees: float) -> Change:
    def tilt(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
        return np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)

    return tilt


def _blurred(sigma: float) -> Change:
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _darkened(exposure: float) -> Change:
    return lambda image: (image * exposure).astype(np.uint8)


def _reduced(factor: float) -> Change:
    def reduce(image: Pixels) -> Pixels:
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[1::-1]), np.uint8)

    return reduce


_DAMAGES: Final[dict[str, Change]] = {
    **{f"blurred, sigma {sigma}": _blurred(sigma) for sigma in (2, 3, 5, 8)},
    **{f"darkened, x {exposure}": _darkened(exposure) for exposure in (0.4, 0.2, 0.1)},
    **{f"reduced {factor} times": _reduced(factor) for factor in (3, 6, 10)},
}


def close_up(image: Pixels, box: NDArray[np.float32], ratio: float) -> Pixels | None:
    """Cut out a square that is smaller than the face by this ratio; None if it reaches over the image's edge."""
    side = float(box[2:].max()) / ratio
    left, top = (box[:2] + box[2:] / 2 - side / 2).round().astype(int).tolist()
    end = round(side)
    if left < 0 or top < 0 or left + end > image.shape[1] or top + end > image.shape[0]:
        return None
    cut = image[top : top + end, left : left + end]
    return np.asarray(cv2.resize(cut, (_CLOSE_UP_PX, _CLOSE_UP_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


def _rows(both: _Both, images: Sequence[Pixels]) -> Iterator[tuple[str, str, str]]:
    """Yield a line of the table: what was done to the images, without and with the second look."""
    upright = [both.find(image) for image in images]
    qualities = np.array([both.quality(image, first) for image, (first, _) in zip(images, upright, strict=True)])
    changed = sum(second is not first and not _same(first, second) for first, second in upright)
    yield "upright: images whose faces changed", "", f"{changed} of {len(images)}"

    def measured(change: Change) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        seen = [(image, *both.find(image)) for image in map(change, images)]
        without = [both.quality(image, first) for image, first, _ in seen]
        return np.array(without), np.array([both.quality(image, second) for image, _, second in seen])

    for degrees in (90, 180, 270):
        shares = [f"{np.mean(np.abs(one - qualities) <= _CLOSE):.1%}" for one in measured(turned(degrees))]
        yield f"turned by {degrees}: within {_CLOSE} of upright", shares[0], shares[1]
    for degrees in (10, 20, 30, 45, -20, -30, -45):
        losses = [f"{np.median(qualities) - np.nanmedian(one):.3f}" for one in measured(tilted(degrees))]
        yield f"tilted by {degrees}: loss of the median", losses[0], losses[1]
    for name, change in _DAMAGES.items():
        medians = [f"{np.nanmedian(one):.4f} ({np.isnan(one).sum()} not found)" for one in measured(change)]
        yield f"{name}: median", medians[0], medians[1]
    for ratio in (1.0, 1.2, 1.4):
        cuts = [
            cut
            for image, (first, _) in zip(images, upright, strict=True)
            if len(first) and (cut := close_up(image, first.boxes[0], ratio)) is not None
        ]
        finds = [both.find(cut) for cut in cuts]
        shares = [f"{np.mean([_fills(pair[index]) for pair in finds]):.1%}" for index in (0, 1)]
        yield f"box / image {ratio}: found", shares[0], shares[1]


def _same(one: Detections, other: Detections) -> bool:
    return len(one) == len(other) and np.allclose(one.landmarks, other.landmarks)


def _fills(found: Detections) -> bool:
    return bool(len(found) and found.boxes[0, 2:].max() > _CLOSE_UP_PX / 2)


def _recall(both: _Both, folder: Path) -> Iterator[tuple[str, str, str]]:
    recalls = Recall(), Recall()
    for path, boxes in marked(folder):
        image = decode(path.read_bytes(), max_pixels=MAX_PIXELS)
        for recall, found in zip(recalls, both.find(image), strict=True):
            recall.add(boxes, found.boxes)
    for index, (low, high) in enumerate(HEIGHTS):
        yield f"faces of {low} to {high} px: found", recalls[0].share(index), recalls[1].share(index)
    yield "found faces that are not marked", str(recalls[0].unmarked), str(recalls[1].unmarked)


def _time(pipeline: Pipeline, files: Sequence[Path], rounds: int) -> tuple[str, str]:
    """Return the processor time per image without the second look, and the part that this adds."""
    items = [Item(uri=path.as_uri()) for path in files]
    assert pipeline.second_look is not None
    timed = _Timed(pipeline.second_look)
    whole, parts = [], []
    for _ in range(rounds + 1):
        timed.spent_s, start = 0.0, _processor_s()
        for _ in replace(pipeline, second_look=timed).run(items, quarantined={}):
            pass
        spent = _processor_s() - start
        whole.append(spent - timed.spent_s)
        parts.append(timed.spent_s / (spent - timed.spent_s))
    return f"{1000 * median(whole[1:]) / len(items):.2f} ms", f"+{median(parts[1:]):.1%}"


class _Timed(SecondLook):
    def __init__(self, second_look: SecondLook) -> None:
        self._second_look = second_look
        self.spent_s = 0.0

    def improve(self, image: Pixels, found: Detections) -> Detections:
        start = time.thread_time()
        improved = self._second_look.improve(image, found)
        self.spent_s += time.thread_time() - start
        return improved


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench second_look", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--models", type=Path, metavar="FOLDER")
    parser.add_argument("--quality", default="builtin_quality", metavar="NAME_OR_FILE")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth image of lfw")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    detector = str(options.models / REGISTRY["yunet_2023mar"].file) if options.models else "builtin_detector"
    settings = WorkerSettings(
        detector=detector, quality_model=options.quality, decode=Decode.FAST, allowed_sources=("file:///",)
    )
    pipeline = Pipeline.load(settings, batch_size=1)
    both = _Both(pipeline)
    files = sorted((options.data / "lfw").resolve().rglob("*.jpg"))[:: options.every]
    table = Table("images", "off", "on", title=f"{detector}, {options.quality}")
    for row in _rows(both, [decode(path.read_bytes(), max_pixels=MAX_PIXELS) for path in files]):
        table.add_row(*row)
    table.add_row(f"{len(files)} upright images: processor time", *_time(pipeline, files, options.rounds))
    if (options.data / "wider").is_dir():
        for row in _recall(both, options.data / "wider"):
            table.add_row(*row)
        scenes = [path for path, _ in marked((options.data / "wider").resolve())]
        table.add_row(f"{len(scenes)} scenes: processor time", *_time(pipeline, scenes, options.rounds))
    Console().print(table)
