"""Results to report on, and report pages as a browser reads them."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fiqa.contract import Face, ImageResult, Status


class Page(HTMLParser):
    """A page as a browser reads it: its text, its elements and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.classes: list[set[str]] = []
        self.metas: dict[str, str] = {}
        self._text: list[str] = []
        self._open = ""
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        self._open = tag
        given = {name: value or "" for name, value in attrs}
        self.classes.append(set(given.get("class", "").split()))
        if tag == "meta":
            self.metas[given.get("http-equiv") or given.get("name", "")] = given.get("content", "")
        if tag in {"td", "th", "p", "h1", "h2", "h3", "figcaption", "text", "tr", "small"}:
            self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in {"style", "script"}:
            self._text.append(data)

    def count(self, name: str) -> int:
        """Elements of this class."""
        return sum(name in classes for classes in self.classes)


def result(
    uri: str = "s3://photos/a.jpg", *qualities: float, model: str = "q", height: float = 100.0, **fields: Any
) -> ImageResult:
    """An image with a face of each quality, the largest first."""
    faces = tuple(
        Face(
            box=(0.0, 0.0, height / 2 / (1 + n), height / (1 + n)),
            confidence=0.9,
            landmarks=((0, 0),) * 5,
            quality=value,
        )
        for n, value in enumerate(qualities)
    )
    status = Status.SCORED if faces else Status.NO_FACE
    return ImageResult(uri=uri, status=status, faces=faces, detector="d", quality_model=model, **fields)


def write(path: Path, results: Sequence[ImageResult]) -> Path:
    data = b"".join(result.encode() + b"\n" for result in results)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
