"""Annotated copies of images: their file names in a folder, and their bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote_to_bytes

import cv2

from fiqa.contract import ImageResult
from fiqa.errors import OutputError
from fiqa_worker.annotate import draw
from fiqa_worker.pipeline.decode import decode
from fiqa_worker.pipeline.fetch import Fetcher

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")  # that OpenCV can write
_MAX_NAME_BYTES: Final = 200  # file systems allow 255; the rest is for a number and a suffix


def annotated(result: ImageResult, suffix: str, fetcher: Fetcher, *, max_pixels: int) -> bytes:
    """Read the image of a result again, and draw its faces.

    Args:
        result: of an image that did not fail.
        suffix: one of SUFFIXES; it decides the format.
        fetcher: reads the image.
        max_pixels: size limit of the image.

    Returns:
        The bytes of the new file. It has the pixels of the image as displayed.

    Raises:
        ImageFailure: the image cannot be read any more.
        SourceUnavailable: this process cannot read the source now.
        OutputError: the format cannot hold an image of this size.
    """
    pixels = decode(fetcher.fetch(result.uri, result.version), max_pixels=max_pixels)
    try:
        done, encoded = cv2.imencode(suffix, draw(pixels, result.faces))
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels cannot be written as {suffix}")
    return encoded.tobytes()


class Names:
    """The file names of annotated images. No two are the same, and all are below the folder."""

    def __init__(self, sources: Sequence[str]) -> None:
        """Create it.

        Args:
            sources: what the user named: paths or URIs. An image of a folder or a prefix keeps its path below it; any
                other image keeps its name only.
        """
        self._roots = sorted((_root(source) for source in sources), key=len, reverse=True)
        self._taken: set[str] = set()

    def of(self, uri: str) -> str:
        """Return a new name for the image of this URI, with / between folders."""
        path = _path(uri)
        root = next((root for root in self._roots if path.startswith(root)), path[: path.rfind("/") + 1])
        parts = [_safe(part) for part in path[len(root) :].split("/") if part not in {"", ".", ".."}] or ["image"]
        suffix = PurePosixPath(parts[-1]).suffix
        stem = "/".join(parts).removesuffix(suffix)
        if suffix.lower() not in SUFFIXES:
            stem, suffix = stem + suffix, ".jpg"
        name, number = stem + suffix, 1
        # In lower case, since some file systems do not distinguish.
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.lower())
        return name


def _root(source: str) -> str:
    if source.startswith("s3://") or (source.startswith("file:///") and source.endswith("/")):
        return _path(source) if source.endswith("/") else _path(source) + "/"
    path = Path(_path(source))
    # Path.is_dir fails for a name that is too long.
    return f"{path.resolve()}/" if os.path.isdir(path) else f"{path}/"  # noqa: PTH112  see above


def _path(uri: str) -> str:
    """Return the path of a file:// URI, or any other URI as it is."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))) if uri.startswith("file:///") else uri


def _safe(part: str) -> str:
    """Return a name that every file system takes."""
    name = os.fsencode(part.replace("\0", "_"))
    if len(name) <= _MAX_NAME_BYTES:
        return os.fsdecode(name)
    suffix = PurePosixPath(part).suffix if part.lower().endswith(SUFFIXES) else ""
    return name[: _MAX_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix
