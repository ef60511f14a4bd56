"""Decodes TIFF, AVIF and HEIC files to a BGR array with Pillow, which knows their alpha, depth and orientation."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, TiffImagePlugin

from fiqa_worker.errors import DecodeFailed, UnsupportedFormat
from fiqa_worker.pipeline.display import in_bands, over_white, upright
from fiqa_worker.pipeline.file_bytes import FileBytes
from fiqa_worker.pipeline.tiff import exif_orientation, read_tiff

# Pillow has one limit per process. It would refuse images that FIQA_MAX_IMAGE_PIXELS allows. Our limit is checked
# before Pillow is called.
Image.MAX_IMAGE_PIXELS = None
# Always use libtiff: Pillow's own reader of uncompressed TIFF reads planes of 16 bits as if they had 8.
TiffImagePlugin.READ_LIBTIFF = True
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the processes are the parallelism
# Pillow warns about odd metadata. Such metadata changes no pixel, and the warning does not name the file.
warnings.filterwarnings("ignore", module="PIL")

_GRAY_16: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_ODD: Final = {"GIF": GifImagePlugin.GifImageFile, "BMP": BmpImagePlugin.BmpImageFile}
_OPAQUE: Final = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})


def decode_avif(data: FileBytes) -> NDArray[np.uint8]:
    """Decode the first image of an AVIF file, turned and mirrored as its irot and imir say.

    The orientation in EXIF does not count: the standard (MIAF) says so. Pillow reports irot and imir as if they were
    the orientation in EXIF.

    Returns:
        H x W x 3, BGR.

    Raises:
        DecodeFailed: it is cut off or damaged.
    """
    try:
        image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
        image.load()
        orientation = exif_orientation(image.info.get("exif", b""))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  for a damaged file, Pillow may raise anything
        raise DecodeFailed("the AVIF file is cut off or damaged") from None
    return upright(_bgr(image), orientation)


def decode_heic(data: FileBytes) -> NDArray[np.uint8]:
    """Decode the primary image of a HEIC file, turned and mirrored as its irot and imir say. EXIF does not count.

    Returns:
        H x W x 3, BGR.

    Raises:
        DecodeFailed: it is cut off or damaged.
    """
    import pillow_heif  # noqa: PLC0415  an extra; read_header has checked that it is installed

    options = pillow_heif.options
    options.DECODE_THREADS = 1  # the processes are the parallelism
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    try:
        image = pillow_heif.HeifImageFile(io.BytesIO(data))
        image.load()  # libheif applies irot and imir
        if image.mode not in _WITH_ALPHA | _OPAQUE:
            raise UnsupportedFormat("HEIC of this kind is not read")  # noqa: TRY301  passed on below
        return _bgr(image)
    except (MemoryError, UnsupportedFormat):
        raise
    except Exception:  # noqa: BLE001  see decode_avif
        raise DecodeFailed("the HEIC file is cut off or damaged") from None


def decode_tiff(data: FileBytes) -> NDArray[np.uint8]:
    """Decode the first image of a TIFF file, turned as its orientation says.

    Returns:
        H x W x 3, BGR.

    Raises:
        UnsupportedFormat: its samples, colors or compression are of a kind that is not read.
        DecodeFailed: it is cut off or damaged.
    """
    header = read_tiff(data)
    not_read = UnsupportedFormat(f"TIFF of this kind is not read: {header.kind}")
    damaged = DecodeFailed("the TIFF file is cut off or damaged")
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  see decode_avif
        if not header.is_plain:
            raise not_read from None
        # Pillow cannot open big-endian BigTIFF, and big-endian gray of 16 bits in which 0 is white. OpenCV can.
        decoded = None
        with suppress(cv2.error):
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise damaged from None
        return np.asarray(decoded, np.uint8)
    if image.mode not in _GRAY_16 | _WITH_ALPHA | _OPAQUE:
        raise not_read
    try:
        image.load()
        pixels = _bgr(image)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  see decode_avif
        raise (damaged if header.is_common else not_read) from None
    return np.invert(pixels) if header.is_inverted and image.mode in _GRAY_16 else pixels


def decode_odd(data: FileBytes, name: str) -> NDArray[np.uint8]:
    """Decode a GIF whose first image is larger than the GIF, or a BMP with unusual color masks.

    Returns:
        H x W x 3, BGR.

    Raises:
        UnsupportedFormat: Pillow does not know the masks.
        DecodeFailed: it is cut off or damaged.
    """
    try:
        image = _ODD[name](io.BytesIO(data))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  see decode_avif
        raise UnsupportedFormat(f"{name} with these color masks is not read") from None
    try:
        image.load()
        return _bgr(image.convert("RGBA") if "transparency" in image.info else image)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  see decode_avif
        raise DecodeFailed(f"the {name} file is cut off or damaged") from None


def _bgr(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a loaded image to a BGR array, H x W x 3."""

    def band(top: int, bottom: int) -> NDArray[np.uint8]:
        rows = image.crop((0, top, image.width, bottom))
        if rows.mode in _GRAY_16:
            gray = (np.asarray(rows) >> 8).astype(np.uint8)
            return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), np.uint8)
        if rows.mode in _WITH_ALPHA:
            straight = rows.convert("LA") if rows.mode == "La" else rows
            pixels = np.asarray(straight.convert("RGBA"))
            return over_white(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGR), np.uint8), pixels[..., 3])
        return np.asarray(cv2.cvtColor(np.asarray(rows.convert("RGB")), cv2.COLOR_RGB2BGR), np.uint8)

    return in_bands(image.height, image.width, band)
