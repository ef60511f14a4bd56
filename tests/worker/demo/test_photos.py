from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from fiqa_worker.demo.photos import make_photos

STRENGTHS = {
    "original": [0],
    "blur": [1, 2, 3, 4],
    "downsample": [1, 2, 3, 4],
    "noise": [1, 2, 3, 4],
    "jpeg": [1, 2, 3, 4],
    "dark": [1, 2, 3, 4],
    "occlusion": [1, 2, 3],
    "turned": [1],
    "mirrored": [0],
    "group": [0],
    "large": [0],
    "noface": [1, 2],
    "empty": [0],
    "cut": [0],
    "text": [0],
}
NOT_A_PHOTO = {"empty", "cut", "text"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "photos"
    make_photos(folder)
    return folder


def test_every_kind_and_strength_is_written_under_its_name(tmp_path: Path) -> None:
    paths = make_photos(tmp_path / "new" / "photos")
    assert [path.name for path in paths] == [f"{kind}-{n}.jpg" for kind, all_n in STRENGTHS.items() for n in all_n]
    assert all(path.is_file() for path in paths)


def test_the_bytes_are_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    for path in make_photos(tmp_path):
        assert path.read_bytes() == (folder / path.name).read_bytes()


@pytest.mark.parametrize("kind", sorted(STRENGTHS.keys() - NOT_A_PHOTO))
def test_a_photo_is_a_complete_jpeg(folder: Path, kind: str) -> None:
    for number in STRENGTHS[kind]:
        path = folder / f"{kind}-{number}.jpg"
        assert path.read_bytes().endswith(b"\xff\xd9")
        image = cv2.imread(str(path))
        assert image is not None
        assert image.shape == {"group": (800, 1280, 3), "large": (3000, 4000, 3), "noface": (480, 640, 3)}.get(
            kind, (512, 512, 3)
        )


def test_the_broken_files_are_broken(folder: Path) -> None:
    original, cut, text = ((folder / f"{kind}-0.jpg").read_bytes() for kind in ("original", "cut", "text"))
    assert (folder / "empty-0.jpg").stat().st_size == 0
    assert original.startswith(cut)
    assert not cut.endswith(b"\xff\xd9")
    assert text.decode("ascii").strip().isprintable()


def test_jpeg_files_shrink_and_dark_photos_darken_as_the_strength_grows(folder: Path) -> None:
    sizes = [(folder / f"{name}.jpg").stat().st_size for name in ("original-0", *(f"jpeg-{n}" for n in (1, 2, 3, 4)))]
    assert all(better > worse for better, worse in pairwise(sizes))
    images = [cv2.imread(str(folder / f"{name}.jpg")) for name in ("original-0", *(f"dark-{n}" for n in (1, 2, 3, 4)))]
    light = [image.mean() for image in images if image is not None]
    assert len(light) == 5
    assert all(better > worse for better, worse in pairwise(light))
