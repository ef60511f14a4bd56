"""Turns tallies into one self-contained HTML page: one script, no network, and all text is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final, TypeAlias

from fiqa.contract import Reason, Status
from fiqa.errors import MissingDependencyError
from fiqa.results.advice import ADVICE
from fiqa.results.axes import LEFT, RIGHT
from fiqa.results.charts import bars, histogram, passing
from fiqa.results.drawing import Drawing, svg
from fiqa.results.gallery import Crop, Row, rows
from fiqa.results.measured import SHARES
from fiqa.results.ranking import LISTED, SAMPLE, RankedImage, Scores
from fiqa.results.scatter import scatters
from fiqa.results.tally import FACES_FROM, HEIGHT_FROM, Tally
from fiqa.results.threshold import Thresholds
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
    svg: Any  # markupsafe.Markup: its text is escaped already


@dataclass(frozen=True, slots=True)
class _Model:
    """One quality model, and its scores by the number of the input.

    Attributes:
        charts: how quality is distributed.
        against: quality against the size of the face and against each measure.
        sampled: the numbers of the inputs of which `against` shows a sample.
        gallery: faces to show, by the number of the input.
    """

    name: str
    scores: dict[int, Scores]
    thresholds: Thresholds
    charts: list[_Chart]
    against: list[_Chart]
    sampled: list[int]
    gallery: dict[int, list[Row]]


def render(
    tallies: Sequence[Tally],
    *,
    faces: int = 0,
    crops: Mapping[RankedImage, Crop] | None = None,
    no_crops: str = "",
    now: datetime | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        tallies: one per input, shown side by side.
        faces: how many faces of each input to show.
        crops: the crops of these faces.
        no_crops: why there are none, if faces were asked for.
        now: the time at which the page says it was made. None: the current time.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    environment, markup = _environment()
    style, script = _resource("page.css"), _resource("page.js")
    # The policy allows this style sheet, this script, and images in the page. Even if hostile text became HTML, nothing
    # else would run, and nothing would be loaded or sent.
    policy = {
        "default-src": "'none'",
        "style-src": _digest(style),
        "script-src": _digest(script),
        **({"img-src": "data:"} if crops else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    models = _models(tallies, faces if crops else 0, markup)
    page: str = environment.from_string(_resource("page.html")).render(
        style=markup(style),
        script=markup(script),
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        tallies=tallies,
        models=models,
        model_names=[model.name for model in models],
        detectors=sorted({name for tally in tallies for name, _ in tally.models}),
        charts=_charts(tallies, markup),
        crops=crops or {},
        no_crops=no_crops,
        quantiles=QUANTILES,
        reasons=list(Reason),
        shares=SHARES,
        advice=ADVICE,
        status=Status,
        listed=LISTED,
        sample=SAMPLE,
        ends=(LEFT, RIGHT),
        made=now or datetime.now(UTC).astimezone(),
        version=version("fiqa"),
    )
    return page


def _models(tallies: Sequence[Tally], faces: int, markup: _Markup) -> list[_Model]:
    models = []
    for name in sorted({name for tally in tallies for name in tally.scores}):
        scores = {place: tally.scores[name] for place, tally in enumerate(tallies) if name in tally.scores}
        thresholds = Thresholds.of(scores)
        models.append(
            _Model(
                name,
                scores,
                thresholds,
                charts=_quality_charts(scores, thresholds, markup),
                against=[_chart(title, "", drawing, markup) for title, drawing in scatters(scores, thresholds.bins)],
                sampled=[place for place, each in scores.items() if each.largest.total > SAMPLE],
                gallery={place: rows(each, faces) for place, each in scores.items()} if faces else {},
            )
        )
    return models


def _quality_charts(scores: Mapping[int, Scores], thresholds: Thresholds, markup: _Markup) -> list[_Chart]:
    several = len(scores) > 1
    largest = {place: each.largest.binned(thresholds.bins) for place, each in scores.items()}
    images = {place: each.images for place, each in thresholds.inputs.items()}
    return [
        _chart(
            "Quality of the largest face of each image",
            "Share of an input's images with a face" if several else "Images by quality; higher is better",
            histogram(thresholds.bins, largest, ""),
            markup,
        ),
        _chart(
            "Images that pass a threshold",
            "Share of an input's images with a face" if several else "Share of the images with a face",
            passing(thresholds.grid, images, ""),
            markup,
        ),
    ]


def _charts(tallies: Sequence[Tally], markup: _Markup) -> list[_Chart]:
    several = len(tallies) > 1
    faces = [[tally.faces[place] for place in range(len(FACES_FROM) + 1)] for tally in tallies]
    heights = [[tally.heights[place] for place in range(len(HEIGHT_FROM) + 1)] for tally in tallies]
    charts = []
    if any(map(sum, faces)):
        note = "Share of an input's images" if several else "Images by their number of faces"
        charts.append(_chart("Faces in an image", note, bars(_FACES_LABELS, faces), markup))
    if any(map(sum, heights)):
        note = "Share of an input's faces" if several else "Faces by the height of their box"
        charts.append(_chart("Height of a face in pixels", note, bars(_HEIGHT_LABELS, heights), markup))
    return charts


def _chart(title: str, note: str, drawing: Drawing, markup: _Markup) -> _Chart:
    return _Chart(title, note, markup(svg(drawing, title)))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return files("fiqa").joinpath("results", name).read_text(encoding="utf-8")


def import_jinja() -> Any:
    """Return jinja2.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import jinja2  # noqa: PLC0415  only for a report
    except ModuleNotFoundError as error:
        raise MissingDependencyError("a report needs jinja2: pip install 'fiqa[report]'") from error
    return jinja2


def _environment() -> tuple[Any, _Markup]:
    """Return the Jinja2 environment, and the function that marks text as HTML, so that it is not escaped."""
    jinja2 = import_jinja()
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
        "name": lambda uri: readable_uri(uri).rstrip("/").rpartition("/")[2],
    }
    environment.globals |= {"per_cent": per_cent}
    return environment, markup
