"""The figure of a report: how quality is distributed, and what passes a threshold, as a PNG or an SVG file."""
# ruff: noqa: PLC0415  matplotlib takes half a second to import and is only in the extra

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from fiqa.errors import MissingDependencyError, UsageError
from fiqa.results.ranking import Scores
from fiqa.results.tally import Tally
from fiqa.results.threshold import Thresholds
from fiqa.text import count, quality, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colors of the inputs, those of the page in light: people with any kind of color vision can distinguish them. The
# lines differ in their dashes too.
COLORS: Final = ("#2b5c8f", "#b8500f", "#2a7548", "#85418c", "#7a6200", "#b02f45")
_DASHES: Final = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 3)), (0, (9, 4)))
_SIZE: Final = (10.0, 3.6)  # inches, and a line of the legend for each input
_LEGEND_LINE: Final = 0.24
_DOTS_PER_INCH: Final = 200
_MAX_NAME: Final = 90  # characters of an input's name


def check_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as _  # noqa: F401, ICN001  only whether it is there
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"a figure needs {error.name}: pip install 'fiqa[figure]'") from error


def figure(tallies: Sequence[Tally], file_format: Literal["png", "svg"]) -> bytes:
    """Draw the histogram and the share that passes a threshold, all inputs over each other. Return the file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        UsageError: no image has a face, or several quality models scored the images.
    """
    models = sorted({name for tally in tallies for name in tally.scores})
    if len(models) != 1:
        found = f"{count(len(models), 'quality model')} scored these images" if models else "no image has a face"
        raise UsageError(f"a figure shows the scores of one quality model, and {found}")
    scores = {place: tally.scores[models[0]] for place, tally in enumerate(tallies) if models[0] in tally.scores}
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with (
        # Text stays text, to be searched. The same results give the same bytes. A name may have dollar signs.
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "fiqa", "text.parse_math": False}),
        # A name may have characters that the font lacks. They become boxes, and matplotlib warns of each.
        warnings.catch_warnings(action="ignore", category=UserWarning),
    ):
        drawn = Figure((_SIZE[0], _SIZE[1] + _LEGEND_LINE * len(scores)), layout="constrained")
        _draw(drawn, scores, [shown(tally.name, most=_MAX_NAME) for tally in tallies], f"Quality by {models[0]}")
        drawn.savefig(
            file, format=file_format, dpi=_DOTS_PER_INCH, metadata={"Date": None} if file_format == "svg" else None
        )
    return file.getvalue()


def _draw(drawn: Figure, scores: Mapping[int, Scores], names: Sequence[str], x_name: str) -> None:
    thresholds = Thresholds.of(scores)
    left, right = drawn.subplots(1, 2)
    _draw_histogram(left, scores, thresholds)
    _draw_passing(right, thresholds)
    for axes in (left, right):
        axes.set_xlabel(x_name)
        axes.set_ylim(bottom=0)
        axes.set_xlim(thresholds.bins.edge(0), thresholds.bins.edge(thresholds.bins.number))
        axes.grid(axis="y", color="#d8dce0")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
    labels = []
    for place, each in scores.items():
        (median,) = each.largest.quantiles(0.5)
        with_face = f"{count(each.largest.total, 'image')} with a face"
        labels.append(f"{names[place]}: {with_face}, median quality {quality(median)}")
    drawn.legend(right.get_lines(), labels, loc="outside upper left", frameon=False)


def _draw_histogram(axes: Axes, scores: Mapping[int, Scores], thresholds: Thresholds) -> None:
    """One input: counts as bars. Several: shares as outlines, since they may differ in their number of images."""
    from matplotlib.ticker import MaxNLocator

    bins = thresholds.bins
    edges = [bins.edge(number) for number in range(bins.number + 1)]
    for place, each in scores.items():
        counts: Sequence[float] = each.largest.binned(bins)
        if len(scores) == 1:
            axes.stairs(counts, edges, fill=True, color=COLORS[place])
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_title("Images by quality", loc="left")
        else:
            shares = [100 * number / each.largest.total for number in counts]
            axes.stairs(shares, edges, color=COLORS[place], linestyle=_DASHES[place], linewidth=1.5)
            axes.yaxis.set_major_formatter("{x:g} %")
            axes.set_title("Share of images by the quality of their largest face", loc="left")


def _draw_passing(axes: Axes, thresholds: Thresholds) -> None:
    grid = thresholds.grid
    edges = [grid.edge(number) for number in range(grid.number + 1)]
    for place, each in thresholds.inputs.items():
        shares = [100 * number / each.images[0] for number in each.images]
        axes.plot(edges, shares, color=COLORS[place], linestyle=_DASHES[place], linewidth=1.8)
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_title("Share of images that pass a threshold", loc="left")
