"""Tallies to one self-contained HTML page: no script, no network, and everything that is shown is escaped."""

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

from fiqa.contract import ErrorCode, Status
from fiqa.results.charts import bars, histogram, import_drawing
from fiqa.results.tally import FACES_FROM, HEIGHT_FROM, LISTED, Bins, Distribution, Scores, Tally
from fiqa.results.text import duration

QUANTILES: Final = {"lowest": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "highest": 1.0}
ADVICE: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.NOT_FOUND: "The object, its bucket or the file is not there: check the URI.",
    ErrorCode.ACCESS_DENIED: "The store refuses: check the worker's credentials and the bucket's policy.",
    ErrorCode.SOURCE_NOT_ALLOWED: "Add the prefix to the worker's FIQA_ALLOWED_SOURCES, if it may read there.",
    ErrorCode.FETCH_FAILED: "The store or the network failed; fiqa retry may well succeed.",
    ErrorCode.FETCH_TIMEOUT: "The store took too long; fiqa retry may well succeed.",
    ErrorCode.TOO_LARGE: "Raise FIQA_MAX_IMAGE_BYTES, or make the file smaller.",
    ErrorCode.UNSUPPORTED_FORMAT: "Convert it to JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF.",
    ErrorCode.DECODE_FAILED: "Empty, cut off or damaged: upload it again.",
    ErrorCode.TOO_MANY_PIXELS: "Raise FIQA_MAX_IMAGE_PIXELS, or make the image smaller.",
    ErrorCode.TIME_LIMIT: "Raise FIQA_IMAGE_TIME_LIMIT_S, or leave the image out.",
    ErrorCode.WORKER_CRASHED: "Workers died on this image: leave it out, and report it.",
    ErrorCode.INTERNAL_ERROR: "A defect of fiqa: the worker's log has the traceback; fiqa retry may succeed.",
}
_FACES_LABELS: Final = ("0", "1", "2", "3", "4", "5-9", "10+")
_HEIGHT_LABELS: Final = ("<16", "16-31", "32-63", "64-127", "128-255", "256-511", "512+")
_MAX_CHARS: Final = 500  # of a name or a message; URIs and ids are shown whole
_AFTER_SLASH: Final = re.compile("(?<=/)(?=[^/])")

_Markup: TypeAlias = Callable[[str], Any]  # of jinja2's, which may not be there


@dataclass(frozen=True, slots=True)
class _Chart:
    title: str
    note: str
    svg: Any  # markupsafe.Markup: drawn from numbers alone, so it is not escaped again


@dataclass(frozen=True, slots=True)
class _Model:
    """One quality model, and the inputs that it scored faces of, by their number."""

    name: str
    scores: dict[int, Scores]
    chart: _Chart


def render(tallies: Sequence[Tally], *, now: datetime | None = None) -> str:
    """The page as HTML.

    Args:
        tallies: one an input, side by side.
        now: when it was made; this moment where None.

    Raises:
        SettingsError: what draws it is not installed.
    """
    environment, markup = _environment()
    style = _resource("page.css")
    # Only this style is obeyed, and nothing else is loaded, run or sent, whatever gets into the page.
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
    title = "Quality of the largest face of each photo"
    note = "Share of an input's photos with a face" if len(found) > 1 else "Photos by quality; higher is better"
    return _Chart(title, note, markup(histogram(title, bins, series)))


def _charts(tallies: Sequence[Tally], markup: _Markup) -> list[_Chart]:
    several = len(tallies) > 1
    faces = [[tally.faces[place] for place in range(len(FACES_FROM) + 1)] for tally in tallies]
    heights = [[tally.heights[place] for place in range(len(HEIGHT_FROM) + 1)] for tally in tallies]
    charts = []
    if any(map(sum, faces)):
        title = "Faces in a photo"
        note = "Share of an input's photos" if several else "Photos by their number of faces"
        charts.append(_Chart(title, note, markup(bars(title, _FACES_LABELS, faces))))
    if any(map(sum, heights)):
        title = "Height of a face in pixels"
        note = "Share of an input's faces" if several else "Faces by the height of their box"
        charts.append(_Chart(title, note, markup(bars(title, _HEIGHT_LABELS, heights))))
    return charts


def shown(text: str, *, most: int | None = None) -> str:
    r"""Text as it is, with what could not be seen, or could turn the text around it, written out: \n, \u202e.

    Args:
        text: anybody's.
        most: characters; what is longer is cut.
    """
    cut = text if most is None or len(text) <= most else text[:most] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


def number(value: float) -> str:
    """Whole, with thousands, and short where it is huge."""
    return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"  # noqa: PLR2004


def quality(value: float) -> str:
    """Three decimals, or four digits where these say nothing."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.4g}"  # noqa: PLR2004


def digits(value: float) -> str:
    """Three of them, or all of a larger number."""
    return f"{value:.3g}" if abs(value) < 1000 else number(value)  # noqa: PLR2004


def per_cent(part: int, whole: int) -> str:
    """A share for people: what is not zero is never shown as zero, nor what is not all as all."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:  # noqa: PLR2004
        return "under 0.1 %"
    if 99.9 < share < 100:  # noqa: PLR2004
        return "over 99.9 %"
    return f"{share:.3g} %"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _resource(name: str) -> str:
    return files("fiqa").joinpath("results", name).read_text(encoding="utf-8")


def _environment() -> tuple[Any, _Markup]:
    """Jinja2's, and what marks HTML of our own making."""
    jinja2, _ = import_drawing()
    markup: _Markup = jinja2.utils.markupsafe.Markup

    def finalize(value: Any) -> Any:
        return shown(value, most=_MAX_CHARS) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        autoescape=True, finalize=finalize, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def uri(value: str) -> Any:
        """May break after a slash."""
        return markup("<wbr>").join(_AFTER_SLASH.split(shown(value)))

    environment.filters |= {
        "number": number,
        "quality": quality,
        "digits": digits,
        "time": _time,
        "duration": duration,
        "uri": uri,
    }
    environment.globals |= {"per_cent": per_cent}
    return environment, markup
