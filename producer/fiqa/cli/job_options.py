"""The options of `submit`, `run` and `score` that say what workers do with the faces of an image."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from fiqa.contract import JobOptions


def job_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add these options to a command. The command gets all of them in one argument, `options`."""

    @click.option("--measures", is_flag=True, help="Measure each face, and give the reasons why it may be poor.")
    @click.option("--min-face-px", type=click.IntRange(1), help="Only score faces of at least this many pixels.")
    @click.option(
        "--max-faces", type=click.IntRange(1), help="Only score this many faces of an image, the largest ones."
    )
    @wraps(command)
    def with_options(*, measures: bool, min_face_px: int | None, max_faces: int | None, **others: Any) -> int:
        options = JobOptions(measures=measures, min_face_px=min_face_px, max_faces=max_faces)
        return command(**others, options=options)

    return with_options
