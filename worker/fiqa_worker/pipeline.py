"""Items to results: fetch ahead, decode, detect, align, score, in that order, once.

Threads fetch while the caller's thread computes. What they hold is bounded in bytes, and an item always ends as exactly
one result.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np

from fiqa_producer.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Item, Status
from fiqa_worker.align import align
from fiqa_worker.detect import Detector
from fiqa_worker.errors import ImageFailure
from fiqa_worker.images import decode
from fiqa_worker.models import ModelFile, default_cache_dir, find
from fiqa_worker.prepare import prepare
from fiqa_worker.quality import QualityScorer
from fiqa_worker.sessions import Session, open_session
from fiqa_worker.settings import WorkerSettings
from fiqa_worker.sources import Fetcher

_log = logging.getLogger(__name__)

FETCH_THREADS: Final = 8
_AHEAD: Final = 2 * FETCH_THREADS
_MAX_BYTES_AHEAD: Final = 64 * 1024 * 1024
_FIRST_GUESS_BYTES: Final = _MAX_BYTES_AHEAD // FETCH_THREADS

_SKIPPED: Final = {
    ErrorCode.WORKER_CRASHED: "the worker died while it worked on this image",
    ErrorCode.TIME_LIMIT: "the image took longer than FIQA_IMAGE_TIME_LIMIT_S",
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What scores images. One thread at a time may call `run`.

    Attributes:
        detector_name: as every result names it; likewise quality_model_name.
        max_pixels: of one image; more is too_many_pixels.
    """

    fetcher: Fetcher
    detector: Detector
    scorer: QualityScorer
    detector_name: str
    quality_model_name: str
    max_pixels: int

    @classmethod
    def load(cls, settings: WorkerSettings) -> Self:
        """Find, prepare and open the models; nothing is downloaded.

        Raises:
            ModelError: a model is missing, is not the pinned file, or does not load.
        """
        detector = find(settings.detector, "detector", settings.models_dir)
        quality = find(settings.quality_model, "quality", settings.models_dir)
        cv2.setNumThreads(1)  # the processes are the parallelism
        threshold = settings.detect_threshold or detector.threshold
        return cls(
            fetcher=Fetcher(settings.allowed_sources, max_bytes=settings.max_image_bytes),
            detector=Detector(_session(detector, settings), threshold=threshold, size=settings.detect_size),
            scorer=QualityScorer(_session(quality, settings)),
            detector_name=detector.name,
            quality_model_name=quality.name,
            max_pixels=settings.max_image_pixels,
        )

    def run(
        self,
        items: Sequence[Item],
        *,
        skips: Mapping[int, ErrorCode],
        touch: Callable[[int], None],
        one_by_one: bool = False,
    ) -> Iterator[ImageResult]:
        """One result an item, in their order.

        Args:
            items: the images.
            skips: items by index that are not touched, and the code they end with.
            touch: told of each item before its compute begins; with `one_by_one` before it is fetched as well.
            one_by_one: fetch nothing ahead.
        """
        fetched = self._fetch_each(items, skips, touch) if one_by_one else self._fetch_ahead(items, skips, touch)
        for index, data in fetched:
            if index in skips:
                yield self._failed(items[index], skips[index], _SKIPPED[skips[index]])
            else:
                yield self._score(items[index], data)

    def _fetch_each(
        self, items: Sequence[Item], skips: Mapping[int, ErrorCode], touch: Callable[[int], None]
    ) -> Iterator[tuple[int, bytes | Exception]]:
        for index, item in enumerate(items):
            if index in skips:
                yield index, b""
                continue
            touch(index)
            yield index, _fetch(self.fetcher, item)

    def _fetch_ahead(
        self, items: Sequence[Item], skips: Mapping[int, ErrorCode], touch: Callable[[int], None]
    ) -> Iterator[tuple[int, bytes | Exception]]:
        pool = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
        waiting: deque[Future[bytes | Exception]] = deque()
        todo = iter([index for index in range(len(items)) if index not in skips])
        largest = _FIRST_GUESS_BYTES
        try:
            for index in range(len(items)):
                if index in skips:
                    yield index, b""
                    continue
                while not waiting or (len(waiting) < _AHEAD and _held(waiting, largest) + largest <= _MAX_BYTES_AHEAD):
                    following = next(todo, None)
                    if following is None:
                        break
                    waiting.append(pool.submit(_fetch, self.fetcher, items[following]))
                data = waiting.popleft().result()
                largest = max(largest, _size(data))
                touch(index)
                yield index, data
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _score(self, item: Item, data: bytes | Exception) -> ImageResult:
        started = time.perf_counter()
        size: ImageSize | None = None
        try:
            if isinstance(data, Exception):
                raise data  # noqa: TRY301  what kept it in the fetching thread is handled where all else is
            image = decode(data, max_pixels=self.max_pixels)
            size = ImageSize(width=image.shape[1], height=image.shape[0])
            found = self.detector.detect(image)
            faces: tuple[Face, ...] = ()
            if len(found.boxes):
                crops = np.stack([align(image, landmarks) for landmarks in found.landmarks])
                faces = tuple(
                    Face(box=box, confidence=confidence, landmarks=landmarks, quality=quality)
                    for box, confidence, landmarks, quality in zip(
                        found.boxes.tolist(),
                        found.confidences.tolist(),
                        found.landmarks.tolist(),
                        self.scorer.score(crops).tolist(),
                        strict=True,
                    )
                )
        except ImageFailure as failure:
            return self._failed(item, failure.code, str(failure), size, _ms_since(started))
        except Exception as error:  # noqa: BLE001  logged, and recorded as this image's result
            # Without what may be a signature: whoever reads the log may not be who may read the image.
            _log.exception("%s: internal error", item.uri.partition("?")[0])
            message = f"{type(error).__name__}: {error}"
            return self._failed(item, ErrorCode.INTERNAL_ERROR, message, size, _ms_since(started))
        return ImageResult(
            uri=item.uri,
            id=item.id,
            version=item.version,
            status=Status.SCORED if faces else Status.NO_FACE,
            image=size,
            faces=faces,
            detector=self.detector_name,
            quality_model=self.quality_model_name,
            ms=_ms_since(started),
        )

    def _failed(
        self, item: Item, code: ErrorCode, message: str, size: ImageSize | None = None, ms: float = 0.0
    ) -> ImageResult:
        return ImageResult(
            uri=item.uri,
            id=item.id,
            version=item.version,
            status=Status.FAILED,
            image=size,
            error=ImageError(code=code, message=message),
            detector=self.detector_name,
            quality_model=self.quality_model_name,
            ms=ms,
        )


def _fetch(fetcher: Fetcher, item: Item) -> bytes | Exception:
    """The image's bytes, or what kept them: raised where the item becomes a result, not in the fetching thread."""
    try:
        return fetcher.fetch(item.uri, item.version)
    except Exception as error:  # noqa: BLE001  handed on, nothing is swallowed
        return error


def _size(data: bytes | Exception) -> int:
    return len(data) if isinstance(data, bytes) else 0


def _held(fetches: Iterable[Future[bytes | Exception]], largest: int) -> int:
    """Bytes that these hold, or may come to hold: those still under way are taken to be as large as the largest yet."""
    return sum(_size(fetch.result()) if fetch.done() else largest for fetch in fetches)


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def _session(model: ModelFile, settings: WorkerSettings) -> Session:
    return open_session(prepare(model, default_cache_dir()), settings.device)
