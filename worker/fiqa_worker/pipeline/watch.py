"""How a caller of the pipeline can watch a run, and end it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """A stage of the pipeline whose time is measured for each image."""

    FETCH = "fetch"
    DECODE = "decode"
    DETECT = "detect"
    ALIGN = "align"
    SCORE = "score"


class Watch:
    """Watches a run of the pipeline. This class does nothing. A subclass can measure the time, or end the run."""

    def on_item_start(self, index: int) -> None:
        """Called with an item's index before any work on it, if the run is isolated. It may raise, to end the run."""

    @contextmanager
    def computing(self, index: int | None) -> Iterator[None]:  # noqa: ARG002  for subclasses
        """Wrap the decoding or scoring of one item, in the thread that does it.

        An index of None means that several items go through the models together.
        """
        yield

    def on_item_end(self, seconds: Mapping[Stage, float], bytes_fetched: int) -> None:
        """Called in the caller's thread after the work on an item.

        Args:
            seconds: the duration of each stage that ran. The images of a batch share a duration evenly.
            bytes_fetched: the size of the file.
        """

    def check(self) -> None:
        """Called a few times a second while the pipeline waits for a fetch. It may raise, to end the run."""


UNWATCHED: Final = Watch()
