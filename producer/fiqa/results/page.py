"""Turns tallies into one self-contained HTML page: no script, no network, and all text is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final, TypeAlias

from fiqa.contract import Reason, Status
from fiqa.results.advice import ADVICE
from fiqa.results.charts import bars, histogram, import_drawing
from fiqa.results.distribution import Bins, Distribution
from fiqa.results.measured import SHARES
from fiqa.results.tally import FACES_FROM, HEIGHT_FROM, LISTED, Scores, Tally
from fiqa.text import digits, duration, local_time, number, per_cent, quality, readable_uri, shown

QUANTILES: Final = {"lowest": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "highest": 1.0}
_FACES_LABELS: Final = ("0", "1", "2", "3", "4", "5-9", "10+")
_HEIGHT_LABELS: Final = ("<16", "16-31", "32-63", "64-127", "128-255", "256-511", "512+")
_MAX_CHARS: Final = 500  # of a name or a message; URIs and ids are not cut
_AFTER_SLASH: Final = re.compile("(?<=/)(?=[^/])")

_Markup: TypeAlias = Callable[[str], Any]  # jinja2's Markup; jinja2 may not be installed


@dataclass(frozen=True, slots=True)
class _Chart:
    title: str
    note: str
    svg: Any  # markupsafe.Markup: made of numbers alone, so it is not escaped again


@dataclass(frozen=True, slots=True)
class _Model:
    """One quality model, and its scores by the number of the input."""

    name: str
    scores: dict[int, Scores]
    chart: _Chart


def render(tallies: Sequence[Tally], *, now: datetime | None = None) -> str:
    """Return the page as HTML.

    Args:
        tallies: one per input, shown side by side.
        now: the time at which the page says it was made. None: the current time.

    Raises:
        MissingDependencyError: jinja2 or pygal is not installed.
    """
    environment, markup = _environment()
    style = _resource("page.css")
    # The policy allows this style sheet only. Even if hostile text became HTML, nothing would be loaded, run or sent.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    models = _models(tallies, markup)
    page: str = environment.from_string(_resource("page.html")).render(
        style=markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        tallies=tallies,
        models=models,
        model_names=[model.name for model in models],
        detectors=sorted({name for tally in tallies for name, _ in tally.models}),
        charts=_charts(tallies, markup),
        quantiles=QUANTILES,
        reasons=list(Reason),
        shares=SHARES,
        advice=ADVICE,
        status=Status,
        listed=LISTED,
        made=now or datetime.now(UTC).astimezone(),
        version=version("fiqa"),
    )
    return page


def _models(tallies: Sequence[Tally], markup: _Markup) -> list[_Model]:
    models = []
    for name in sorted({name for tally in tallies for name in tally.scores}):
        scores = {place: tally.scores[name] for place, tally in enumerate(tallies) if name in tally.scores}
        largest = {place: found.largest for place, found in scores.items()}
        models.append(_Model(name, scores, _quality_chart(largest, len(tallies), markup)))
    return models


def _quality_chart(found: dict[int, Distribution], inputs: int, markup: _Markup) -> _Chart:
    bins = Bins.over(found.values())
    series = [found[place].binned(bins) if place in found else [] for place in range(inputs)]
    title = "Quality of the largest face of each image"
    note = "Share of an input's images with a face" if len(found) > 1 else "Images by quality; higher is better"
    return _Chart(title, note, markup(histogram(title, bins, series)))


def _charts(tallies: Sequence[Tally], markup: _Markup) -> list[_Chart]:
    several = len(tallies) > 1
    faces = [[tally.faces[place] for place in range(len(FACES_FROM) + 1)] for tally in tallies]
    heights = [[tally.heights[place] for place in range(len(HEIGHT_FROM) + 1)] for tally in tallies]
    charts = []
    if any(map(sum, faces)):
        title = "Faces in an image"
        note = "Share of an input's images" if several else "Images by their number of faces"
        charts.append(_Chart(title, note, markup(bars(title, _FACES_LABELS, faces))))
    if any(map(sum, heights)):
        title = "Height of a face in pixels"
        note = "Share of an input's faces" if several else "Faces by the height of their box"
        charts.append(_Chart(title, note, markup(bars(title, _HEIGHT_LABELS, heights))))
    return charts


def _resource(name: str) -> str:
    return files("fiqa").joinpath("results", name).read_text(encoding="utf-8")


def _environment() -> tuple[Any, _Markup]:
    """Return the Jinja2 environment, and the function that marks text as HTML, so that it is not escaped."""
    jinja2, _ = import_drawing()
    markup: _Markup = jinja2.utils.markupsafe.Markup

    def finalize(value: Any) -> Any:
        return shown(value, most=_MAX_CHARS) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        autoescape=True, finalize=finalize, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def uri(value: str) -> Any:
        """Return a URI that may be broken into lines after a slash."""
        return markup("<wbr>").join(_AFTER_SLASH.split(shown(readable_uri(value))))

    environment.filters |= {
        "number": number,
        "quality": quality,
        "digits": digits,
        "time": local_time,
        "duration": duration,
        "uri": uri,
    }
    environment.globals |= {"per_cent": per_cent}
    return environment, markup
