"""What tests read of a source: its URIs, its errors, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from fiqa.errors import SourceError
from fiqa.sources.left_out import LeftOut
from fiqa.sources.manifest import read_source


def refuse(error: SourceError) -> None:
    raise error


def uris(*sources: str | Path) -> list[str]:
    return [item.uri for item in read_source([str(source) for source in sources], on_bad_line=refuse)]


def read_with_errors(source: Path) -> tuple[list[str], list[str]]:
    errors: list[str] = []
    items = read_source([str(source)], on_bad_line=lambda error: errors.append(str(error)))
    return [item.uri for item in items], errors


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def left_out_of(*sources: str | Path) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    items = read_source([str(source) for source in sources], on_bad_line=refuse, left_out=left_out)
    return [item.uri for item in items], left_out
