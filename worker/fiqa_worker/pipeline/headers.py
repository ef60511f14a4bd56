"""Reads the format, size and transparency of a file from its header.

No decoder is called here: those of WebP and AVIF allocate memory for an image before they report its size.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from fiqa_worker.errors import DecodeFailed, UnsupportedFormat
from fiqa_worker.pipeline.avif import avif_size
from fiqa_worker.pipeline.file_bytes import FileBytes
from fiqa_worker.pipeline.jpeg import jpeg_size
from fiqa_worker.pipeline.tiff import read_tiff

# No camera or tool writes this many chunks. It limits the time for a file that consists of empty chunks only.
_MAX_CHUNKS: Final = 100_000
_MAX_BRANDS_END: Final = 1024
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_GIF_IMAGE: Final = ord(",")
_GIF_EXTENSION: Final = ord("!")
_PNG_GRAY: Final = 0  # color type
_BMP_MASKS: Final = 3  # compression
_BMP_WITH_ALPHA: Final = 56  # bytes of the shortest header that has a mask for alpha
# The masks of red, green and blue, by the bits of a pixel.
_BMP_MASKS_OF_OPENCV: Final = {
    16: ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)),
    32: ((0xFF0000, 0xFF00, 0xFF),),
}
_BMP_OF_OTHER_FORMATS: Final = {4: "JPEG", 5: "PNG"}
_NOT_READ: Final = "not a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC file"
_HAS_HEIF: Final = find_spec("pillow_heif") is not None


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an image file says.

    Attributes:
        width: in pixels, as stored, before the orientation is applied.
        height: the same.
        transparent: whether a fourth channel, if there is one, is alpha.
        transparent_gray: the gray level that is transparent in a gray PNG, at the decoded depth of 8 or 16 bits.
        exif: EXIF data of a PNG.
        frame: left, top, width and height of the first image of a GIF, if it does not fill the GIF.
        needs_pillow: whether OpenCV refuses a GIF or a BMP of this kind, or gives it wrong colors.
        working_pixels: the number of pixels of a tile or a stream, if a decoder allocates memory for it.
    """

    format: str
    width: int
    height: int
    transparent: bool = False
    transparent_gray: int | None = None
    exif: bytes = b""
    frame: tuple[int, int, int, int] | None = None
    needs_pillow: bool = False
    working_pixels: int = 0

    @property
    def pixels(self) -> int:
        """The least number of pixels that a decoder allocates memory for."""
        return max(self.width * self.height, self.working_pixels)


def read_header(data: FileBytes) -> Header:
    """Find out what a file is.

    Raises:
        DecodeFailed: the file is empty, or its header is cut off or does not make sense.
        UnsupportedFormat: the file is of another format, or of a kind of its format that is not read.
    """
    if not data:
        raise DecodeFailed("the file is empty")
    read = next((read for signature, read in _FORMATS if signature.match(data)), None)
    if read is None:
        raise UnsupportedFormat(_NOT_READ)
    try:
        header = read(data)
    except (struct.error, IndexError, OverflowError):  # OverflowError: offsets of eight bytes
        raise DecodeFailed("the file's header is cut off") from None
    if header.width < 1 or header.height < 1:
        raise DecodeFailed(f"the {header.format} header gives no size")
    return header


def _jpeg(data: FileBytes) -> Header:
    return Header("JPEG", *jpeg_size(data))


def _png(data: FileBytes) -> Header:
    if data[12:16] == b"CgBI":
        raise UnsupportedFormat("PNG as Xcode rewrites it is not read")
    width, height, depth, color_type = struct.unpack_from(">IIBB", data, 16)
    transparent_gray, exif = None, b""
    position = 8
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        start, position = position + 8, position + 12 + length
        # A decoder allocates memory for the stated length of a chunk before it notices that the file ends.
        if position > len(data):
            raise DecodeFailed("the PNG file is cut off or damaged")
        if kind == b"tRNS" and color_type == _PNG_GRAY and depth:
            (level,) = struct.unpack_from(">H", data, start)
            # A level of fewer than 8 bits is decoded to 8 bits.
            transparent_gray = level if depth > 8 else level * 255 // ((1 << depth) - 1)  # noqa: PLR2004  see above
        elif kind == b"eXIf":
            exif = data[start : start + length]
        elif kind == b"IEND":
            break
    else:
        raise DecodeFailed("the PNG's chunks are damaged")
    return Header("PNG", width, height, transparent=True, transparent_gray=transparent_gray, exif=exif)


def _webp(data: FileBytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        if len(data) < 30:  # noqa: PLR2004  where the height ends
            raise DecodeFailed("the file's header is cut off")
        return Header("WebP", width, height, transparent=True)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), transparent=True)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    raise DecodeFailed("the WebP holds no image")


def _gif(data: FileBytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_palette_bytes(flags)
    for _ in range(_MAX_CHUNKS):
        kind = data[position]
        if kind == _GIF_IMAGE:
            frame = struct.unpack_from("<HHHH", data, position + 1)
            right, bottom = frame[0] + frame[2], frame[1] + frame[3]
            return Header(
                "GIF",
                max(width, right),
                max(height, bottom),
                transparent=True,
                frame=None if frame == (0, 0, width, height) else frame,
                needs_pillow=right > width or bottom > height,
            )
        if kind != _GIF_EXTENSION:
            break
        position += 2
        while size := data[position]:
            position += 1 + size
        position += 1
    raise DecodeFailed("the GIF file is cut off or damaged")


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(data: FileBytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    transparent = needs_pillow = False
    if header_size == 12:  # noqa: PLR2004  the oldest form has numbers of two bytes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        if compression in _BMP_OF_OTHER_FORMATS:
            raise UnsupportedFormat(f"BMP that holds a {_BMP_OF_OTHER_FORMATS[compression]} is not read")
        if compression == _BMP_MASKS:
            needs_pillow = struct.unpack_from("<III", data, 54) not in _BMP_MASKS_OF_OPENCV.get(bits, ())
            if header_size >= _BMP_WITH_ALPHA:
                transparent = struct.unpack_from("<I", data, 66)[0] != 0
    return Header("BMP", width, abs(height), transparent, needs_pillow=needs_pillow)


def _tiff(data: FileBytes) -> Header:
    header = read_tiff(data)
    return Header("TIFF", header.width, header.height, working_pixels=header.tile_pixels)


def _avif_or_heic(data: FileBytes) -> Header:
    # The major brand may be a general one, such as mif1. Then AVIF is among the compatible brands.
    end = min(struct.unpack_from(">I", data)[0], _MAX_BRANDS_END)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    is_avif = bool(brands & _AVIF_BRANDS)
    if not is_avif and not brands & _HEIC_BRANDS:
        raise UnsupportedFormat(_NOT_READ)
    if not is_avif and not _HAS_HEIF:
        raise UnsupportedFormat("HEIC is read only if the worker has the extra heif: pip install 'fiqa[heif]'")
    size = avif_size(data)
    # A decoder also allocates memory for the stream of the alpha, and for tiles that extend beyond the image.
    return Header(
        "AVIF" if is_avif else "HEIC", size.width, size.height, working_pixels=max(size.largest_coded, size.coded // 4)
    )


# RIFF must be there. Without it, WebP decoders read the bytes as a bare stream, which has its size in another place.
_FORMATS: Final[tuple[tuple[re.Pattern[bytes], Callable[[FileBytes], Header]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff),
    (re.compile(rb"....ftyp", re.DOTALL), _avif_or_heic),
)
