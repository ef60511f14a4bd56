"""Makes the crops of faces again from their sources, for a report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

import cv2
import numpy as np

from fiqa.errors import FiqaError
from fiqa.results.gallery import Crop
from fiqa.results.ranking import RankedImage
from fiqa_worker.errors import ImageFailure
from fiqa_worker.pipeline.align import CROP_SIZE, align
from fiqa_worker.pipeline.decode import decode_reduced
from fiqa_worker.pipeline.fetch import Fetcher
from fiqa_worker.pipeline.prefetch import prefetch
from fiqa_worker.settings import OWN_SOURCES, WorkerSettings

_THREADS: Final = 4  # each holds a decoded image
_TRY_S: Final = 3.0  # for one try of a request; there are up to three
_ONE_S: Final = 10.0  # for one image
_ALL_S: Final = 30.0  # for all of them
_TIMED_OUT: Final = "there was no time left to read it"
_MAX_BYTES: Final = 1 << 20  # crops that wait, of about 5 KB each
_QUALITY: Final = 90


class _TimeUpError(Exception):
    pass


def crops_of(images: Sequence[RankedImage]) -> Iterator[Crop]:
    """Read the images again, and cut out their largest faces as the quality model saw them.

    Every source that this user may read is read. It takes 30 s at most: what is not read by then has no crop.

    Yields:
        One crop per image, in their order. If its source cannot be read any more, the crop says why.
    """
    settings = WorkerSettings.load()
    fetcher = Fetcher(OWN_SOURCES, max_bytes=settings.max_image_bytes, timeout_s=_TRY_S, patience_s=_TRY_S)
    end = time.monotonic() + _ALL_S

    def check() -> None:
        if time.monotonic() > end:
            raise _TimeUpError

    def crop(image: RankedImage) -> Crop:
        try:
            return _crop(image, fetcher, settings.max_image_pixels)
        except ImageFailure as error:
            return Crop(problem=f"{error.code}: {error}")
        except (FiqaError, cv2.error, OSError) as error:  # a report is made even if no source can be read
            return Crop(problem=str(error))

    done = 0
    try:
        for found in prefetch(
            crop,
            images,
            threads=_THREADS,
            depth=2 * _THREADS,
            size=lambda crop: len(crop.jpeg),
            max_bytes=_MAX_BYTES,
            check=check,
            limit_s=_ONE_S,
            if_stuck=lambda _: Crop(problem=f"it could not be read within {_ONE_S:g} s"),
        ):
            yield found
            done += 1
    except _TimeUpError:
        yield from [Crop(problem=_TIMED_OUT)] * (len(images) - done)


def _crop(image: RankedImage, fetcher: Fetcher, max_pixels: int) -> Crop:
    data = fetcher.fetch(image.uri, image.version)
    # A copy in which the face has the pixels of its crop, even if it is tilted.
    whole = max(image.size.width, image.size.height) if image.size else np.inf
    decoded = decode_reduced(data, max_pixels=max_pixels, long_side=1.5 * CROP_SIZE * whole / max(image.face_px, 1))
    if image.size and (decoded.width, decoded.height) != (image.size.width, image.size.height):
        return Crop(problem="it has changed since it was scored")
    # In the image and in its copies, a whole number is the center of a pixel.
    landmarks = ((np.array(image.landmarks) + 0.5) / decoded.reduction - 0.5).astype(np.float32)
    _, encoded = cv2.imencode(".jpg", align(decoded.pixels, landmarks), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Crop(encoded.tobytes())
