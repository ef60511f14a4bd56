"""The results of `fiqa demo` as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.bar import Bar
from rich.table import Table

from fiqa.contract import ImageResult

_BAR_WIDTH: Final = 30


def best_first(results: Sequence[ImageResult]) -> list[ImageResult]:
    """Sort by the quality of the largest face. Results without a face come last, by name."""
    return sorted(results, key=lambda result: (-result.faces[0].quality if result.faces else math.inf, result.uri))


def table(results: Sequence[ImageResult]) -> Table:
    """Make a table with one row for each photo: the quality of its largest face, as a number and as a bar."""
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
