"""Which damages of an image get their reason, how much quality they cost, and how long measures take.

    python -m tests.bench reasons --data IMAGES [--images 90] [--rounds 7]

IMAGES are portraits of about 250 x 250 pixels. The models are those of FIQA_DETECTOR and FIQA_QUALITY_MODEL, or those
that `fiqa run` finds. With and without measures the images run in turn, so that other load on
the machine slows both; time is that of the processor.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike

from fiqa.contract import ImageResult, Item, JobOptions, Reason
from fiqa.sources.manifest import read_source
from fiqa_worker.cli.extras import models_or_builtin, own_settings
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.settings import WorkerSettings
from tests.bench.image_sets import MAX_PIXELS

_SEED: Final = 0
_NOISE: Final = 4  # the noise of a sensor; it stays the same with less light
_MEASURES: Final = JobOptions(measures=True)


def _blurred(image: MatLike, sigma: float) -> MatLike:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _exposed(image: MatLike, factor: float) -> MatLike:
    return np.asarray(np.clip(image * float(factor), 0, 255), np.uint8)


def _darkened(image: MatLike, factor: float) -> MatLike:
    noise = np.random.default_rng(_SEED).normal(0, _NOISE, image.shape)
    return np.asarray(np.clip(image * factor + noise, 0, 255), np.uint8)


def _lit_from_the_side(image: MatLike, loss: float) -> MatLike:
    across = np.linspace(-1, 1, image.shape[1])[np.newaxis, :, np.newaxis]
    return np.asarray(image * (1 - loss / (1 + np.exp(-12 * across))), np.uint8)


def _scaled(image: MatLike, factor: float) -> MatLike:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _tilted(image: MatLike, degrees: float) -> MatLike:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _without_left(image: MatLike, share: float) -> MatLike:
    return image[:, round(share * image.shape[1]) :].copy()


def _without_bottom(image: MatLike, share: float) -> MatLike:
    return image[: round((1 - share) * image.shape[0])].copy()


_DAMAGES: Final[tuple[tuple[str, Reason, Callable[[MatLike, float], MatLike], tuple[float, ...]], ...]] = (
    ("none", Reason.BLURRED, _scaled, (1,)),
    ("blur, sigma", Reason.BLURRED, _blurred, (1, 1.5, 2, 3)),
    ("scaled by", Reason.TOO_SMALL, _scaled, (0.4, 0.3, 0.25, 0.2)),
    ("darkened by", Reason.TOO_DARK, _darkened, (0.4, 0.3, 0.2)),
    ("darkened without noise by", Reason.BLURRED, _exposed, (0.4, 0.3, 0.2)),
    ("brightened by", Reason.TOO_BRIGHT, _exposed, (1.5, 2, 2.5)),
    ("light lost on one side", Reason.UNEVEN_LIGHT, _lit_from_the_side, (0.3, 0.5, 0.7)),
    ("tilted, degrees", Reason.TILTED, _tilted, (10, 20, 30)),
    ("cut off on the left", Reason.CUT_OFF, _without_left, (0.32, 0.36, 0.4)),
    ("cut off below", Reason.CUT_OFF, _without_bottom, (0.24, 0.28, 0.32)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    settings = WorkerSettings.load()
    pipeline = Pipeline.load(own_settings(settings, *models_or_builtin(settings)))
    every = list(read_source([str(options.data)], on_bad_line=print))
    items = every[:: max(1, len(every) // options.images)]
    print(f"{len(items)} of {len(every)} images, {pipeline.detector_name}, {pipeline.quality_model_name}")
    for line in _shares(_run(pipeline, every, _MEASURES)):
        print(line)
    print(f"\n{'damage':28} {'strength':>8} {'found':>6} {'quality':>8}  {'its reason':12} others")
    for line in _series(pipeline, items):
        print(line)
    print(f"\nmeasures and reasons: {_ms_a_face(pipeline, items, options.rounds):.3f} ms a face")


def _run(pipeline: Pipeline, items: Sequence[Item], options: JobOptions) -> list[ImageResult]:
    return list(pipeline.run(items, quarantined={}, options=options))


def _shares(results: Sequence[ImageResult]) -> Iterator[str]:
    """Yield for each reason the share of images whose largest face has it."""
    faces = [result.faces[0] for result in results if result.faces]
    found = Counter(reason for face in faces for reason in face.reasons or ())
    for reason in Reason:
        yield f"{reason:14} {100 * found[reason] / max(len(faces), 1):5.1f} %"


def _series(pipeline: Pipeline, items: Sequence[Item]) -> Iterator[str]:
    images = [decode(pipeline.fetcher.fetch(item.uri), max_pixels=MAX_PIXELS) for item in items]
    for name, reason, damage, strengths in _DAMAGES:
        for strength in strengths:
            with tempfile.TemporaryDirectory() as folder:
                damaged = [Item(uri=(Path(folder) / f"{number}.png").as_uri()) for number in range(len(images))]
                for number, image in enumerate(images):
                    cv2.imwrite(str(Path(folder) / f"{number}.png"), damage(image, strength))
                results = _run(pipeline, damaged, _MEASURES)
            faces = [result.faces[0] for result in results if result.faces]
            found = Counter(each for face in faces for each in face.reasons or ())
            percent = {each: round(100 * count / len(faces)) for each, count in found.items()}
            others = ", ".join(f"{each} {share}" for each, share in percent.items() if each is not reason)
            quality = median(face.quality for face in faces) if faces else float("nan")
            its = f"{percent.get(reason, 0):3} % {reason}"
            yield f"{name:28} {strength:8g} {len(faces):6} {quality:8.3f}  {its:18} {others}"


def _ms_a_face(pipeline: Pipeline, items: Sequence[Item], rounds: int) -> float:
    """Return the processor time that measures and reasons add, in milliseconds; median of the rounds."""
    gc.collect()
    gc.freeze()  # as in a worker
    added = []
    for number in range(rounds + 1):
        took = {}
        for measures in (False, True) if number % 2 else (True, False):
            started = _processor_s()
            results = _run(pipeline, items, JobOptions(measures=measures))
            took[measures] = _processor_s() - started
        faces = sum(len(result.faces) for result in results)
        added.append(1000 * (took[True] - took[False]) / max(faces, 1))
    return median(added[1:])  # the first round warms up


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
