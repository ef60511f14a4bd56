"""The sets of images to measure: found in a folder or made here, and large images composed of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa.errors import SourceError
from fiqa.sources.lines import is_image
from fiqa_worker.demo.photos import make_photos
from fiqa_worker.errors import ImageFailure
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.detect import Detector

MAX_PIXELS: Final = 100_000_000
JPEG_QUALITY: Final = 90
_GRAIN: Final = 512  # side of the square of grain that is repeated
_QUICK_IMAGES: Final = 8


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images that every competitor scores, in this order."""

    name: str
    about: str
    files: tuple[Path, ...]

    @property
    def mean_bytes(self) -> float:
        return sum(path.stat().st_size for path in self.files) / len(self.files)


@dataclass(frozen=True, slots=True)
class _Made:
    """A set of composed images. Each has a grid of photos, columns x rows, on a background of cloth."""

    about: str
    width: int
    height: int
    grid: tuple[int, int]
    count: int
    quick_count: int


_MADE: Final = {
    "1080p": _Made("1920 x 1080, one face", 1920, 1080, (1, 1), count=12, quick_count=1),
    "12mp": _Made("4000 x 3000, one face", 4000, 3000, (1, 1), count=8, quick_count=1),
    "36mp": _Made("7360 x 4912, one face", 7360, 4912, (1, 1), count=4, quick_count=1),
    "groups": _Made("4000 x 3000, 24 faces", 4000, 3000, (6, 4), count=6, quick_count=1),
}
NAMES: Final = ("lfw", "wider", "images", "demo", *_MADE)


def collect(
    data: Path | None, folder: Path, detector: Detector, *, names: Sequence[str] | None, quick: bool
) -> list[ImageSet]:
    """Find and make the sets, in the order of NAMES. The bytes are the same each time.

    Args:
        data: a folder of images. Its subfolders lfw, wider and large are sets if they exist. None: the demo's photos,
            which the project makes.
        folder: where the made images are written.
        detector: chooses the images with one face that the large ones are made of.
        names: the sets to return. None: all.
        quick: a few images a set.

    Raises:
        SourceError: there are no images, or none with one face, or there is no set of a name.
    """
    if data is None:
        demo = [path for path in make_photos(folder / "demo") if path.stem != "large-0" and _read(path) is not None]
        found = [ImageSet("demo", "the demo's photos, mostly 512 x 512", tuple(demo))]
        portraits = faces = demo[:1] + [path for path in demo if path.stem == "mirrored-0"]
    else:
        found = [
            ImageSet(name, about, tuple(files))
            for name, about in (("lfw", "250 x 250, one face"), ("wider", "1024 px, scenes"))
            if (files := _images(data / name))
        ] or [ImageSet("images", f"the images of {data.name}", tuple(_images(data)))]
        portraits = _images(data / "large") or list(found[0].files)
        faces = list(found[0].files)
    if not found[0].files:
        raise SourceError(f"{data}: there are no images in this folder")
    wanted = names or [one.name for one in found] + (["12mp"] if quick else list(_MADE))
    missing = set(wanted) - {one.name for one in found} - set(_MADE)
    if missing:
        raise SourceError(f"--sets: there is no {', '.join(sorted(missing))} with this --data")
    if quick:
        found = [ImageSet(one.name, one.about, one.files[:_QUICK_IMAGES]) for one in found]
    sets = [one for one in found if one.name in wanted]
    for name, made in _MADE.items():
        if name in wanted:
            columns, rows = made.grid
            count = made.quick_count if quick else made.count
            source = portraits if made.grid == (1, 1) else faces
            sources = _with_one_face(source, detector, at_most=count * columns * rows)
            sets.append(ImageSet(name, made.about, tuple(_compose_all(folder, name, made, sources, count))))
    return sets


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_image(path.name))


def _read(path: Path) -> NDArray[np.uint8] | None:
    try:
        return decode(path.read_bytes(), max_pixels=MAX_PIXELS)
    except ImageFailure:
        return None


def _with_one_face(paths: Iterable[Path], detector: Detector, *, at_most: int) -> list[Path]:
    """Return the first images with exactly one face."""
    found = (path for path in paths if (pixels := _read(path)) is not None and len(detector.detect(pixels)) == 1)
    chosen = list(islice(found, at_most))
    if not chosen:
        raise SourceError("--data: there is no image with exactly one face, of which large images are made")
    return chosen


def _compose_all(folder: Path, name: str, made: _Made, sources: Sequence[Path], count: int) -> Iterable[Path]:
    endless = cycle(sources)
    cells = made.grid[0] * made.grid[1]
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = _compose(made, [decode(path.read_bytes(), max_pixels=MAX_PIXELS) for path in islice(endless, cells)],
                           np.random.default_rng(number))  # fmt: skip
        path = folder / name / f"{name}-{number}.jpg"
        cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        yield path


def _compose(made: _Made, photos: Sequence[NDArray[np.uint8]], random: np.random.Generator) -> NDArray[np.uint8]:
    """Put photos on cloth, each as large as its cell, and add a sensor's grain: the JPEG is as large as a camera's."""
    columns, rows = made.grid
    pixels = _cloth(made.width, made.height, random)
    cell_width, cell_height = made.width // columns, made.height // rows
    for number, photo in enumerate(photos):
        scale = min(cell_width / photo.shape[1], cell_height / photo.shape[0])
        width, height = int(photo.shape[1] * scale), int(photo.shape[0] * scale)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        left = number % columns * cell_width + (cell_width - width) // 2
        top = number // columns * cell_height + (cell_height - height) // 2
        pixels[top : top + height, left : left + width] = cv2.resize(photo, (width, height), interpolation=how)
    grain = np.rint(random.normal(0, 3, (_GRAIN, _GRAIN, 1))).astype(np.int16)
    for top in range(0, made.height, _GRAIN):
        for left in range(0, made.width, _GRAIN):
            part = pixels[top : top + _GRAIN, left : left + _GRAIN]
            part[:] = np.clip(part + grain[: part.shape[0], : part.shape[1]], 0, 255)
    return pixels


def _cloth(width: int, height: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw folds of three sizes in muted colors."""
    cloth = np.full((height, width, 3), (118, 108, 100), np.float32)
    for fold, strength in ((800, 26), (160, 12), (24, 8)):
        knots = random.normal(0, strength, (height // fold + 2, width // fold + 2, 3)).astype(np.float32)
        cloth += cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(cloth, 0, 255).astype(np.uint8)
