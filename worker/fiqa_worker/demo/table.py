"""`fiqa demo`: what is shown of the demo's results: a table for the terminal and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
from rich.bar import Bar
from rich.table import Table

from fiqa.contract import ImageResult
from fiqa_worker.annotate import Cell, contact_sheet
from fiqa_worker.errors import ImageFailure
from fiqa_worker.pipeline.decode import decode

_BAR_WIDTH: Final = 30


def best_first(results: Sequence[ImageResult]) -> list[ImageResult]:
    """Sorted by the largest face's quality; those without a face after them, by name."""
    return sorted(results, key=lambda result: (-result.faces[0].quality if result.faces else math.inf, result.uri))


def table(results: Sequence[ImageResult]) -> Table:
    """A row a photo: its largest face's quality, with a bar as long as that is high."""
    qualities = [result.faces[0].quality for result in results if result.faces]
    low, high = min(0.0, *qualities), max(1.0, *qualities)
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("photo", no_wrap=True)
    grid.add_column("size", justify="right", no_wrap=True)
    grid.add_column("faces", justify="right")
    grid.add_column("quality", justify="right")
    grid.add_column("")
    for result in results:
        name = Path(result.uri).name
        size = f"{result.image.width}x{result.image.height}" if result.image else "-"
        if result.faces:
            quality = result.faces[0].quality
            bar = Bar(high - low, 0, quality - low, width=_BAR_WIDTH, color="green")
            grid.add_row(name, size, str(len(result.faces)), f"{quality:.3f}", bar)
        else:
            grid.add_row(name, size, "-", "-", f"[yellow]{result.error.code}[/]" if result.error else "[dim]no face[/]")
    return grid


def write_contact_sheet(path: Path, photos: Path, results: Sequence[ImageResult], *, max_pixels: int) -> None:
    """Draw every photo with its faces, in the order of the results."""
    cells = []
    for result in results:
        name = Path(result.uri).name
        try:
            image = decode((photos / name).read_bytes(), max_pixels=max_pixels)
        except ImageFailure:
            image = None
        cells.append(Cell(name, image, result))
    cv2.imwrite(str(path), contact_sheet(cells))
