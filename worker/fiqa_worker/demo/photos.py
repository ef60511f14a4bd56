"""The demo's photos: one portrait, damaged in known ways, and a few files that hold no face or no image."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cv2.typing import MatLike
    from numpy.typing import NDArray

_SEED: Final = 1995

# Positions in the portrait, in its pixels.
_FACE_BOX: Final = (178, 62, 90, 115)
_FACE_CENTER: Final = (224, 120)
_OUTLINE: Final = (  # around the woman and the helmet, as x,y
    "0,512 18,470 30,360 48,275 70,244 112,214 114,185 132,160 182,150 180,128 166,112 154,92 155,62 168,44 186,38 "
    "202,22 228,14 262,20 284,38 297,62 301,92 294,112 278,128 268,134 262,160 258,174 282,192 300,216 305,238 "
    "340,258 356,290 364,346 400,342 440,352 474,384 494,430 498,512"
)

# The people of the group photo, back to front: scale, mirrored, and the new center of the face.
_CREW: Final = (
    (0.50, False, (72, 292)),
    (0.55, True, (792, 258)),
    (0.70, False, (452, 228)),
    (1.10, True, (622, 236)),
    (1.40, False, (230, 262)),
    (1.55, True, (1010, 252)),
)
_CREW_SIZE: Final = (1280, 800)
_LARGE_SIZE: Final = (4000, 3000)


def make_photos(folder: Path) -> list[Path]:
    """Write the demo's photos into a folder. The bytes are the same each time.

    The folder is created if it is missing. The files are named kind-strength.jpg. Strengths start at 1. A higher number
    means more damage. 0 is the original, or a kind without strengths.

    Returns:
        The files, by kind and strength, the original first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in _photos():
        path = folder / f"{name}.jpg"
        path.write_bytes(data)
        paths.append(path)
    return paths


def _photos() -> Iterator[tuple[str, bytes]]:
    original = resources.files("fiqa_worker").joinpath("demo", "portrait", "astronaut.jpg").read_bytes()
    portrait = np.asarray(cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    yield "original-0", original
    for kind, (damage, strengths) in _DAMAGES.items():
        for number, strength in enumerate(strengths, start=1):
            yield f"{kind}-{number}", damage(portrait, strength)
    yield "turned-1", _turned(portrait, degrees=20)
    yield "mirrored-0", _encode(cv2.flip(portrait, 1))
    yield "group-0", _encode(_group(portrait))
    yield "large-0", _encode(_large(portrait))
    yield "noface-1", _encode(_landscape())
    yield "noface-2", _encode(_weave())
    yield "empty-0", b""
    yield "cut-0", original[: len(original) // 2]
    yield "text-0", b"This is text, whatever its name says.\n"


def _encode(image: MatLike, quality: float = 95) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1].tobytes()


def _with_noise(image: NDArray[np.float32], sigma: float) -> MatLike:
    noise = np.random.default_rng(_SEED).standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image + sigma * noise), 0, 255).astype(np.uint8)


def _blur(portrait: MatLike, sigma: float) -> bytes:
    return _encode(cv2.GaussianBlur(portrait, (0, 0), sigma))


def _downsample(portrait: MatLike, factor: float) -> bytes:
    height, width = portrait.shape[:2]
    small = cv2.resize(portrait, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return _encode(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _noise(portrait: MatLike, sigma: float) -> bytes:
    return _encode(_with_noise(portrait.astype(np.float32), sigma))


def _dark(portrait: MatLike, exposure: float) -> bytes:
    # Less light, but the same noise of the sensor: this makes dark photos bad.
    return _encode(_with_noise(portrait * np.float32(exposure), sigma=4))


def _occlude(portrait: MatLike, share: float) -> bytes:
    """Hide this share of the face's height, from the chin up."""
    left, top, width, height = _FACE_BOX
    hidden = portrait.copy()
    corner = (left - width // 6, round(top + (1 - share) * height))
    cv2.rectangle(hidden, corner, (left + width + width // 6, top + height + height // 6), (92, 84, 76), cv2.FILLED)
    return _encode(hidden)


_DAMAGES: Final[Mapping[str, tuple[Callable[[MatLike, float], bytes], tuple[float, ...]]]] = {
    "blur": (_blur, (2, 3, 4.5, 6)),
    "downsample": (_downsample, (3, 5, 7, 10)),
    "noise": (_noise, (12, 19, 26, 33)),
    "jpeg": (_encode, (14, 9, 5, 3)),
    "dark": (_dark, (0.4, 0.25, 0.17, 0.12)),
    "occlusion": (_occlude, (0.3, 0.4, 0.52)),
}


def _turned(portrait: MatLike, degrees: float) -> bytes:
    height, width = portrait.shape[:2]
    turn = cv2.getRotationMatrix2D(_FACE_CENTER, degrees, 1)
    return _encode(cv2.warpAffine(portrait, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101))


def _group(portrait: MatLike) -> MatLike:
    """Draw the same person six times, in six sizes, in front of a studio backdrop."""
    scene = _shade((206, 212, 218), (166, 176, 186), _CREW_SIZE).astype(np.float32)
    points = np.array([point.split(",") for point in _OUTLINE.split()], np.int32)
    outline = cv2.GaussianBlur(cv2.fillPoly(np.zeros(portrait.shape[:2], np.float32), [points], 1.0), (0, 0), 1.2)
    center_x, center_y = _FACE_CENTER
    for scale, mirrored, (x, y) in _CREW:
        across = -scale if mirrored else scale
        place = np.array([[across, 0, x - across * center_x], [0, scale, y - scale * center_y]])
        person = cv2.warpAffine(portrait, place, _CREW_SIZE).astype(np.float32)
        alpha = cv2.warpAffine(outline, place, _CREW_SIZE)[:, :, np.newaxis]
        scene += alpha * (person - scene)
    return np.rint(scene).astype(np.uint8)


def _large(portrait: MatLike) -> MatLike:
    width, height = _LARGE_SIZE
    top = portrait[: portrait.shape[1] * height // width]  # this part holds the face, and nothing is stretched
    return cv2.resize(top, _LARGE_SIZE, interpolation=cv2.INTER_CUBIC)


def _shade(top: tuple[int, int, int], bottom: tuple[int, int, int], size: tuple[int, int]) -> MatLike:
    ends = np.array([[top], [bottom]], np.float32)
    return np.rint(cv2.resize(ends, size, interpolation=cv2.INTER_LINEAR)).astype(np.uint8)


def _landscape() -> MatLike:
    """Draw a sky, a sun and three ridges."""
    width, height = 640, 480
    pixels = _shade((200, 150, 90), (190, 214, 250), (width, height))
    cv2.circle(pixels, (470, 150), 36, (190, 236, 255), cv2.FILLED, cv2.LINE_AA)
    x = np.arange(width)
    for level, length, phase, color in (
        (270, 190, 0.4, (150, 140, 120)),
        (330, 130, 2.0, (110, 110, 84)),
        (390, 240, 4.1, (62, 74, 52)),
    ):
        ridge = level + 32 * np.sin(x / length * 2 * np.pi + phase) + 10 * np.sin(x / length * 7 + phase)
        edge = np.column_stack([x, ridge]).astype(np.int32)
        cv2.fillPoly(pixels, [np.vstack([edge, [(width - 1, height), (0, height)]])], color, cv2.LINE_AA)
    return pixels


def _weave() -> MatLike:
    """Draw cloth: two crossed waves and some grain."""
    y, x = np.mgrid[0:480, 0:640].astype(np.float32)
    threads = 26 * np.sin(x / 3.5) * np.sign(np.sin(y / 7)) + 26 * np.sin(y / 3.5) * np.sign(np.sin(x / 7))
    return _with_noise(np.array([118, 96, 70], np.float32) + threads[:, :, np.newaxis], sigma=9)
