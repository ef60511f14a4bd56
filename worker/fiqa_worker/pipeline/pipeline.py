"""Turns items into results: prefetch, decode, detect, align and score, once and in this order.

Threads fetch while the caller's thread computes. If the models take batches, threads decode as well. The bytes that
they hold are limited. An item always ends as exactly one result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, Self

import cv2
import numpy as np

from fiqa.contract import NO_OPTIONS, ErrorCode, ImageError, ImageResult, Item, JobOptions
from fiqa_worker.errors import FetchTimeout, SourceUnavailable
from fiqa_worker.models.locate import ModelFile, find
from fiqa_worker.models.prepare import prepare, prepared_dirs
from fiqa_worker.models.sessions import Session, open_session
from fiqa_worker.pipeline.align import CROP_SIZE, similarity, warp
from fiqa_worker.pipeline.decode import decode_reduced
from fiqa_worker.pipeline.detect import MULTIPLE, Detector, scaled_down
from fiqa_worker.pipeline.fetch import Fetcher
from fiqa_worker.pipeline.identity import Identity, identify
from fiqa_worker.pipeline.in_progress import InProgress
from fiqa_worker.pipeline.prefetch import prefetch
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.pipeline.second_look import SecondLook
from fiqa_worker.pipeline.watch import UNWATCHED, Stage, Watch
from fiqa_worker.settings import Decode, Switch, WorkerSettings

FETCH_THREADS: Final = 16
_MAX_BYTES_FETCHED: Final = 24 * 1024 * 1024
_DECODE_THREADS: Final = 8
_MAX_BYTES_DECODED: Final = 256 * 1024 * 1024

# A face of this width has enough pixels for its crop, even if it is rotated.
_LEAST_FACE_WIDTH: Final = 1.5 * CROP_SIZE

# A copy at half the size is not worth it. Its decode saves a quarter of the time. But if it turns out too small, a
# second decode takes three quarters more.
_LEAST_REDUCTION: Final = 4

# A job that asks for faces of at least so many pixels only is detected in a copy in which they have this many. With 32,
# 2 of 59 faces of 100 px in 60 scenes of WIDER FACE were lost, with 48 none of 106 faces of 60 px and 1 of 59.
_ENOUGH_PX: Final = 48
_LEAST_COPY: Final = 256  # the long side in pixels: a smaller copy would save less than it costs to make

_SKIPPED: Final = {
    ErrorCode.WORKER_CRASHED: "the worker died while it worked on this image",
    ErrorCode.MANIFEST_LOST: "the list of this chunk's images is gone from the job's storage, or damaged",
    ErrorCode.INTERNAL_ERROR: "the worker failed with this chunk again and again: the worker's log says why",
    ErrorCode.TIME_LIMIT: "the image took longer than FIQA_IMAGE_TIME_LIMIT_S",
}
_SKIPPED_BEFORE: Final = "a worker of another version left this image out"


def _skipped(code: ErrorCode) -> ImageError:
    return ImageError(code=code, message=_SKIPPED.get(code, _SKIPPED_BEFORE))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Scores images. One thread at a time may call `run`.

    Attributes:
        second_look: None if it is off.
        detector_name: the name in every result.
        quality_model_name: the same for the quality model.
        max_pixels: an image with more pixels fails as too_many_pixels.
        long_side: the long side of the decoded copy has at least this many pixels, if the image has them.
        batch_size: the number of images that go through the models together.
        fetch_limit_s: a fetch that takes longer is abandoned, and its image ends as fetch_timeout.
        identity: its models, device and fingerprint.
    """

    fetcher: Fetcher
    detector: Detector
    second_look: SecondLook | None
    scorer: QualityScorer
    detector_name: str
    quality_model_name: str
    max_pixels: int
    long_side: float
    batch_size: int
    fetch_limit_s: float
    identity: Identity

    @classmethod
    def load(cls, settings: WorkerSettings, *, batch_size: int | None = None) -> Self:
        """Find, prepare and open the models. Nothing is downloaded.

        Args:
            settings: the settings of the worker.
            batch_size: the number of images that go through the models together. None: the default of the device.

        Raises:
            ModelError: a model is missing, is not the pinned file, or does not load.
        """
        detector = find(settings.detector, "detector", settings.models_dir)
        quality = find(settings.quality_model, "quality", settings.models_dir)
        cv2.setNumThreads(1)  # the processes are the parallelism
        threshold = settings.detect_threshold or detector.threshold
        session = _session(detector, settings, batch_size)
        # Two, since a detector keeps the memory of its input as long as the input has the same shape.
        first, second = (Detector(session, threshold=threshold, size=settings.detect_size) for _ in range(2))
        return cls(
            fetcher=Fetcher(
                settings.allowed_sources,
                max_bytes=settings.max_image_bytes,
                # A third of the limit: after this time, one more request may follow, with its own tries.
                patience_s=settings.image_time_limit_s / 3,
            ),
            detector=first,
            second_look=SecondLook(second) if settings.second_look is Switch.ON else None,
            scorer=QualityScorer(_session(quality, settings, batch_size)),
            detector_name=detector.name,
            quality_model_name=quality.name,
            max_pixels=settings.max_image_pixels,
            long_side=settings.detect_size if settings.decode is Decode.FAST else math.inf,
            batch_size=session.batch_size,
            fetch_limit_s=settings.image_time_limit_s,
            identity=identify(detector, quality, settings, threshold=threshold, device=session.device),
        )

    def run(
        self,
        items: Sequence[Item],
        *,
        quarantined: Mapping[int, ErrorCode],
        watch: Watch = UNWATCHED,
        isolated: bool = False,
        options: JobOptions = NO_OPTIONS,
    ) -> Iterator[ImageResult]:
        """Yield one result for each item, in the order of the items.

        Args:
            items: the images.
            quarantined: the indexes of items that are not computed, each with the error code of its result.
            watch: its methods are called during the run, and may end it.
            isolated: work on one image at a time: no prefetch, no batches.
            options: the options of the job.

        Raises:
            SourceUnavailable: this worker cannot read a source now. No image has failed.
        """
        todo = (InProgress(index, item, options) for index, item in enumerate(items) if index not in quarantined)
        fetched = self._fetched(todo, watch, isolated=isolated)
        images = (
            InProgress(index, item, failure=_skipped(quarantined[index])) if index in quarantined else next(fetched)
            for index, item in enumerate(items)
        )
        if isolated or self.batch_size == 1:
            for image in images:
                if not image.failure:
                    with watch.computing(image.index):
                        self._score([self._open(image)])
                yield self._result(image, watch)
            return
        for batch in _batches(self._opened(images, watch), self.batch_size):
            with watch.computing(None):
                self._score(batch)
            yield from (self._result(image, watch) for image in batch)

    def _result(self, image: InProgress, watch: Watch) -> ImageResult:
        watch.on_item_end(image.seconds, len(image.data))
        return image.result(self.detector_name, self.quality_model_name)

    def _fetched(self, todo: Iterable[InProgress], watch: Watch, *, isolated: bool) -> Iterator[InProgress]:
        def reported() -> Iterator[InProgress]:
            for image in todo:
                watch.on_item_start(image.index)
                yield image

        return prefetch(
            self._fetch,
            reported() if isolated else todo,
            threads=1 if isolated else FETCH_THREADS,
            depth=1 if isolated else 2 * FETCH_THREADS,
            size=lambda image: len(image.data),
            max_bytes=_MAX_BYTES_FETCHED,
            check=watch.check,
            limit_s=self.fetch_limit_s,
            if_stuck=self._stuck,
        )

    def _opened(self, images: Iterable[InProgress], watch: Watch) -> Iterator[InProgress]:
        def opened(image: InProgress) -> InProgress:
            if image.failure:
                return image
            with watch.computing(image.index):
                return self._open(image)

        return self._in_threads(opened, images, watch.check)

    def _in_threads(
        self,
        work: Callable[[InProgress], InProgress],
        todo: Iterable[InProgress],
        check: Callable[[], object] = lambda: None,
    ) -> Iterator[InProgress]:
        return prefetch(
            work,
            todo,
            threads=_DECODE_THREADS,
            depth=self.batch_size + _DECODE_THREADS,
            size=lambda image: image.bytes_held,
            max_bytes=_MAX_BYTES_DECODED,
            check=check,
        )

    def _stuck(self, image: InProgress) -> InProgress:
        # A new object, since the stuck thread may still change the old one.
        instead = InProgress(image.index, image.item, image.options)
        instead.fail(FetchTimeout(f"it could not be read within {self.fetch_limit_s:g} s (FIQA_IMAGE_TIME_LIMIT_S)"))
        return instead

    def _fetch(self, image: InProgress) -> InProgress:
        started = time.perf_counter()
        try:
            image.data = self.fetcher.fetch(image.item.uri, image.item.version)
        except SourceUnavailable:
            raise  # it is not an error of this image: the chunk is released
        except Exception as error:  # noqa: BLE001  recorded as this image's result
            image.fail(error)
        image.seconds[Stage.FETCH] = time.perf_counter() - started
        return image

    def _open(self, image: InProgress) -> InProgress:
        started = time.perf_counter()
        try:
            image.decoded = decode_reduced(
                image.data,
                max_pixels=self.max_pixels,
                long_side=partial(_long_side, image.options, self.long_side),
                least_reduction=_LEAST_REDUCTION,
            )
            image.log_warnings()
        except Exception as error:  # noqa: BLE001  recorded as this image's result
            image.fail(error)
        image.seconds[Stage.DECODE] = time.perf_counter() - started
        image.ms += 1000 * image.seconds[Stage.DECODE]
        return image

    def _score(self, images: Sequence[InProgress]) -> None:
        """Fill in the faces of decoded images, or the reason for their failure."""
        images = [image for image in images if image.decoded]
        if not images:
            return
        started = time.perf_counter()
        try:
            self._find_and_score(images)
        except Exception as error:  # noqa: BLE001  recorded as this image's result
            if len(images) > 1:  # only the image that causes the error may fail
                for image in images:
                    self._score([image])
                return
            images[0].fail(error)
        for image in images:
            image.ms += 1000 * (time.perf_counter() - started) / len(images)

    def _find_and_score(self, images: Sequence[InProgress]) -> None:
        started = time.perf_counter()
        decoded = [image.decoded for image in images if image.decoded]
        copies = [
            scaled_down(one.pixels, int(_long_side(image.options, self.detector.size, max(one.width, one.height))))
            for image, one in zip(images, decoded, strict=True)
        ]
        finds = self.detector.detect_all(copies)
        for image, one, copy, found in zip(images, decoded, copies, finds, strict=True):
            faces = self.second_look.improve(copy, found) if self.second_look else found
            back = (one.pixels.shape[1] / copy.shape[1], one.pixels.shape[0] / copy.shape[0])
            image.find(faces.scaled(back).scaled((one.reduction, one.reduction)))
        detected = time.perf_counter()
        aligned = self._in_threads(self._align, images) if len(images) > 1 else map(self._align, images)
        crops = np.concatenate([image.crops for image in aligned])
        cropped = time.perf_counter()
        scores = iter(self.scorer.score(crops).tolist())
        for image in images:
            image.score(list(islice(scores, len(image.found))))
        ended, number = time.perf_counter(), len(images)
        for image in images:
            image.seconds[Stage.DETECT] = (detected - started) / number
            image.seconds[Stage.ALIGN] = (cropped - detected) / number
            image.seconds[Stage.SCORE] = (ended - cropped) / number

    def _align(self, image: InProgress) -> InProgress:
        """Cut out the faces. If they are too small in the copy that detection used, decode a larger copy."""
        if image.decoded is None or not len(image.found):
            return image
        pixels, reduction = image.decoded.pixels, image.decoded.reduction
        width = float(image.found.boxes[:, 2].min())
        if reduction > 1 and width < _LEAST_FACE_WIDTH * reduction:
            long_side = max(image.decoded.width, image.decoded.height)
            larger = decode_reduced(
                image.data, max_pixels=self.max_pixels, long_side=_LEAST_FACE_WIDTH * long_side / max(width, 1.0)
            )
            pixels, reduction = larger.pixels, larger.reduction
        # In the image and in its copies, a whole number is the center of a pixel.
        scaled = (image.found.landmarks + 0.5) / reduction - 0.5
        matrices = [similarity(landmarks) for landmarks in scaled]
        image.crops = np.stack([warp(pixels, matrix) for matrix in matrices])
        if image.options.measures:
            image.measure(pixels, matrices)
        return image


def _long_side(options: JobOptions, most: float, whole: int) -> float:
    """Return the long side that a copy needs for the faces that a job asks for.

    Args:
        options: the options of the job.
        most: the long side for faces of any size; infinite if the image is not to be reduced.
        whole: the long side of the whole image.
    """
    if options.min_face_px is None or math.isinf(most):
        return most
    enough = math.ceil(whole * _ENOUGH_PX / options.min_face_px / MULTIPLE) * MULTIPLE
    return min(most, max(_LEAST_COPY, enough))


def _batches(images: Iterable[InProgress], size: int) -> Iterator[list[InProgress]]:
    """Yield up to `size` images at a time, or fewer if they are large."""
    batch: list[InProgress] = []
    for image in images:
        batch.append(image)
        if len(batch) >= size or sum(one.bytes_held for one in batch) >= _MAX_BYTES_DECODED:
            yield batch
            batch = []
    if batch:
        yield batch


def _session(model: ModelFile, settings: WorkerSettings, batch_size: int | None) -> Session:
    prepared = prepare(model, *prepared_dirs(settings.models_dir))
    return open_session(prepared, settings.device, batch_size=batch_size)
