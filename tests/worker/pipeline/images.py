"""Images that tests make, and the package's own portrait."""

from __future__ import annotations

import struct
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from fiqa_worker.pipeline.align import align

TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.729904, 92.2041)], np.float32
)


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    """A smooth image in which no two corners are alike, H x W x 3, BGR."""
    y, x = np.mgrid[0:height, 0:width]
    down, right = 255 * y / max(height - 1, 1), 255 * x / max(width - 1, 1)
    return np.asarray(np.rint(np.dstack([down, right, (255 - down) * right / 255])), np.uint8)


def portrait_jpeg() -> bytes:
    """The package's portrait, one face, 512x512."""
    return resources.files("fiqa_worker").joinpath("demo", "portrait", "astronaut.jpg").read_bytes()


def portrait() -> NDArray[np.uint8]:
    """The package's portrait, 512 x 512 x 3, BGR."""
    return np.asarray(cv2.imdecode(np.frombuffer(portrait_jpeg(), np.uint8), cv2.IMREAD_COLOR), np.uint8)


def aligned_face() -> NDArray[np.uint8]:
    """The portrait's face, 112 x 112 x 3, BGR."""
    landmarks = np.array([[210, 110], [247, 108], [229, 130], [213, 150], [246, 149]], np.float32)
    return align(portrait(), landmarks)


def jpeg(image: NDArray[np.uint8], orientation: int = 1) -> bytes:
    """A JPEG of an image as stored, which EXIF says to turn before it is shown."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    plain = data.tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
