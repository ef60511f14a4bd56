"""What `fiqa score` and `fiqa run` share: a folder of annotated images."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from fiqa.cli.files import check_free, write_whole
from fiqa.cli.messages import report_line
from fiqa.contract import ImageResult
from fiqa.errors import OutputError
from fiqa.sources.manifest import STDIN
from fiqa.text import count, readable_uri
from fiqa.window import in_order
from fiqa_worker.cli.extras import needs
from fiqa_worker.errors import ImageFailure, SourceUnavailable
from fiqa_worker.settings import OWN_SOURCES, WorkerSettings

_THREADS: Final = 4  # each holds a decoded image
_PROBLEMS_SHOWN: Final = 20


class AnnotatedFolder:
    """A folder that gets an annotated copy of each image that did not fail.

    Attributes:
        written: number of images written.
        failed: number of images that could be scored, but not read again.
    """

    def __init__(self, folder: Path, sources: Sequence[str], settings: WorkerSettings, *, force: bool) -> None:
        """Check the folder. It is made with the first image.

        Args:
            folder: the folder.
            sources: what the user named.
            settings: limits of the images.
            force: whether the folder may have files, and whether they are replaced.

        Raises:
            OutputError: the folder has files already, or images would mix with those of the source.
        """
        with needs("cpu"):
            from fiqa_worker.annotated import Names
            from fiqa_worker.pipeline.fetch import Fetcher

        _check(folder, sources, force=force)
        self.written = 0
        self.failed = 0
        self._folder, self._force = folder, force
        self._names = Names(sources)
        self._fetcher = Fetcher(OWN_SOURCES, max_bytes=settings.max_image_bytes)
        self._max_pixels = settings.max_image_pixels

    def write(self, results: Iterable[ImageResult], *, show: Callable[[int], None] = lambda _: None) -> None:
        """Write the annotated images of results. An image that cannot be read any more is reported.

        Args:
            results: the results. Those of failed images are skipped.
            show: called with the number of images so far.

        Raises:
            OutputError: a file exists already, or cannot be written.
        """
        named = ((result, self._names.of(result.uri)) for result in results if not result.error)
        # In threads: OpenCV decodes and encodes without Python's lock.
        with closing(in_order(self._write, named, threads=min(_THREADS, os.cpu_count() or 1), name="annotate")) as done:
            for (result, _), problem in done:
                if problem:
                    self.failed += 1
                    if self.failed <= _PROBLEMS_SHOWN:
                        report_line(f"fiqa: {readable_uri(result.uri)}: {problem}")
                else:
                    self.written += 1
                show(self.written + self.failed)

    def report(self) -> None:
        """Print how many images were written, and how many not. Call it at the end."""
        failed = f", {count(self.failed, 'image')} could not be read again" if self.failed else ""
        report_line(f"{count(self.written, 'annotated image')} in {self._folder}{failed}")

    def _write(self, named: tuple[ImageResult, str]) -> str:
        """Write one image. Returns the problem, or nothing."""
        from fiqa_worker.annotated import annotated

        result, name = named
        path = self._folder / name
        try:
            data = annotated(result, path.suffix.lower(), self._fetcher, max_pixels=self._max_pixels)
        except (ImageFailure, SourceUnavailable) as error:
            return str(error)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}: choose another folder") from error
        own = [path_of(result.uri)] if result.uri.startswith("file:///") else []
        check_free(path, force=self._force, inputs=own)
        write_whole(path, data, force=self._force)
        return ""


def _check(folder: Path, sources: Sequence[str], *, force: bool) -> None:
    real = Path(os.path.realpath(folder))
    for source in sources:
        if source == STDIN or source.startswith("s3://"):
            continue
        path = Path(os.path.realpath(path_of(source)))
        place = path if is_folder(path) else path.parent
        if real == place or real in place.parents or (place == path and path in real.parents):
            raise OutputError(
                f"cannot write {folder}: annotated images would mix with those of {source}: choose another folder"
            )
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"cannot write {folder}: it is a file: choose a folder")
        if not force and folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} has files already: replace them with --force, or choose another folder")
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}: choose another folder") from error


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder. Unlike Path.is_dir, it does not fail for a name that is too long."""
    return os.path.isdir(path)  # noqa: PTH112  see above


def path_of(source: str) -> Path:
    """Return the path that a path or a file:// URI names."""
    is_uri = source.startswith("file:///")
    return Path(os.fsdecode(unquote_to_bytes(source.removeprefix("file://"))) if is_uri else source)
