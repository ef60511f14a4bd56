from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fiqa.contract import ErrorCode, ImageError, ImageResult, Item, Status
from fiqa.results.advice import ADVICE
from fiqa.results.page import render
from fiqa.results.tally import Tally, tally, tally_file
from fiqa.text import shown
from tests.producer.faceless import failed, no_face
from tests.producer.results.pages import Page, result, write

HOSTILE = [
    "<script>document.title='owned';console.log('owned')</script>",
    '" onmouseover="console.log(\'owned\')" x="',
    "' onload='console.log(1)' x='",
    "javascript:console.log('owned')",
    "</style><script>console.log('owned')</script>",
    "</title><script>console.log('owned')</script>",
    "<img src=x onerror=console.log('owned')>",
    "<svg onload=console.log('owned')><script>console.log('owned')</script></svg>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'><base href=//evil.example/>",
    "--><iframe src=//evil.example></iframe><!--",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "]]><x>",
]


# All elements and attributes of a page. The only script is the page's own, and none of them loads a file or links.
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "h1", "h2", "h3", "p"),
    *("div", "span", "strong", "small", "bdi", "br", "wbr", "figure", "figcaption"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "path", "rect", "text"),
    *("label", "input", "output", "script", "ul", "li", "img"),
}


ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "scope", "role", "aria-label"),
    *("viewbox", "d", "x", "y", "text-anchor", "width", "height", "colspan"),
    *("type", "min", "max", "step", "value", "hidden", "src", "alt", "title"),
    *(f"data-{name}" for name in ("first", "step", "digits", "left", "right", "images", "faces")),
}


def page(*tallies: Tally) -> Page:
    return Page(render(tallies))


def test_a_page_shows_the_counts_the_quality_and_what_to_do() -> None:
    results = [result(f"s3://b/{n}.jpg", n / 100, id=f"caller-{n}", version=f"v{n}", ms=5.0) for n in range(1, 101)]
    results += [no_face(Item(uri="s3://b/empty"))] * 4
    results += [failed(Item(uri=f"s3://b/gone{n}"), ErrorCode.NOT_FOUND) for n in range(3)]
    results += [failed(Item(uri="s3://b/broken"), ErrorCode.DECODE_FAILED)]
    seen = page(tally(results, "all.jsonl"))

    assert "all.jsonl: 108 images, 100 scored, 4 without a face, 4 failed. Median quality 0.500." in seen.text
    assert "Scored 100 92.6 % No face 4 3.7 % Failed 4 3.7 % Faces 100" in seen.text
    assert "Processing time, median 5 ms" in seen.text
    assert "Largest face of an image 0.010 0.050 0.250 0.500 0.750 0.950 1.000 100 images" in seen.text
    assert f"3 not_found {ADVICE[ErrorCode.NOT_FOUND]} s3://b/gone0 it is not_found" in seen.text
    assert f"1 decode_failed {ADVICE[ErrorCode.DECODE_FAILED]} s3://b/broken" in seen.text
    assert "1.000 s3://b/100.jpg id caller-100 version v100 50 \N{MULTIPLICATION SIGN} 100 1" in seen.text
    best, worst = seen.text.index("Best 20"), seen.text.index("Worst 20")
    assert best < seen.text.index("s3://b/81.jpg") < worst < seen.text.index("s3://b/20.jpg")
    assert "s3://b/80.jpg" not in seen.text
    assert "s3://b/21.jpg" not in seen.text
    assert seen.count("chart") == 5
    assert "0.500 51 51 % 51 51 %" in seen.text  # images and faces that pass
    assert "Different" not in seen.text


def test_few_images_are_one_table() -> None:
    seen = page(tally([result("s3://b/1", 0.5), result("s3://b/2", 0.7)], "few"))
    assert seen.text.count("s3://b/1") == 1
    assert seen.text.index("s3://b/2") < seen.text.index("s3://b/1")
    assert "Worst" not in seen.text


@pytest.mark.parametrize("results", [[], [no_face(Item(uri="s3://b/1"))]], ids=["nothing", "no face"])
def test_results_without_a_face_make_a_page_too(results: list[ImageResult]) -> None:
    seen = page(tally(results, "none"), tally(results, "none"))
    assert f"none: {len(results)} image" in seen.text
    assert "Median quality" not in seen.text


def test_scores_of_two_models_are_kept_apart_and_the_page_reports_it() -> None:
    one = tally([result("s3://a/1", 0.3, model="first"), result("s3://a/2", 0.8, model="second")], "one")
    two = tally([result("s3://b/1", 20.0, model="second")], "two")
    three = tally([result("s3://c/1", 0.4, model="first")], "three")
    html = render([one, two, three])

    charts = re.findall(r"<svg[^>]*Quality of.*?</svg>", html)
    drawn = [re.findall(r"class=\"line color-(\d)\"", chart) for chart in charts]
    assert drawn == [["0", "2"], ["0", "1"]]
    seen = Page(html)
    assert "Different quality models scored these images: first, second. Scores of two models are never" in seen.text
    assert "one: 2 images, 2 scored, 0 without a face, 0 failed. Median quality 0.300 by first, Median" in seen.text
    assert "Quality by first" in seen.text
    assert "Quality by second" in seen.text


def hostile() -> list[Tally]:
    """Every text that comes from outside is an attack: URIs, ids, versions, messages, names, models."""
    made = []
    for number, name in enumerate(HOSTILE[:2]):
        model = HOSTILE[2 + number]
        results = [result(text, 0.1 * n, 1e308, -1e308, model=model, id=text, version=text, height=1e308)
                   for n, text in enumerate(HOSTILE)]  # fmt: skip
        results += [
            ImageResult(
                uri=text,
                status=Status.FAILED,
                error=ImageError(code=code, message=text),
                detector=text,
                quality_model=model,
            )
            for text, code in zip(HOSTILE, ErrorCode, strict=False)
        ]
        made.append(tally(results, name))
    return made


def test_a_hostile_page_runs_loads_and_links_nothing() -> None:
    html = render(hostile())
    seen = Page(html)
    assert set(seen.elements) <= ELEMENTS
    assert set(seen.attributes) <= ATTRIBUTES
    assert (seen.elements["style"], seen.elements["script"]) == (1, 1)
    for text in HOSTILE:
        assert " ".join(text.split()) in seen.text  # as it was given, for people to read
    assert "49" not in Page(render([tally([result(HOSTILE[10], 0.5)], "t")])).text.partition("Made")[0]


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else() -> None:
    html = render(hostile())
    allowed = []
    for element in ("style", "script"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed.append(f"{element}-src 'sha256-{digest}'")
        assert not re.search(r"url\(|@import|fetch|XMLHttp|innerHTML|eval", text)
    policy = "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])
    assert Page(html).metas["Content-Security-Policy"] == policy


def test_more_images_than_the_sample_are_sampled_and_the_page_reports_it() -> None:
    results = [result(f"s3://b/{n}", n / 2500) for n in range(2500)]
    seen = page(tally(results, "all"), tally(results[:2000], "few"))
    assert "all: a random sample of 2,000 of 2,500 images." in seen.text
    assert "few: a random sample" not in seen.text
    assert seen.count("dots") == 2


def test_invisible_characters_are_escaped() -> None:
    assert shown("a\u202egpj.exe\n\x00\u200b é 中 \ud800") == "a\\u202egpj.exe\\n\\x00\\u200b é 中 \\ud800"
    assert shown("x" * 10, most=4) == "xxxx..."
    seen = page(tally([result("s3://b/\u202egpj.exe", 0.5, model="m" * 5000)], "n\x1b[31m"))
    assert "s3://b/\\u202egpj.exe" in seen.text
    assert "n\\x1b[31m: 1 image" in seen.text
    assert "m" * 501 not in seen.text


def test_the_same_results_make_the_same_page(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result(f"s3://b/{n}", n / 50) for n in range(50)])
    now = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    pages = {render([tally_file(path, on_bad_line=lambda error: pytest.fail(str(error)))], now=now) for _ in range(2)}
    assert len(pages) == 1
    assert "2026-01-02 03:04 UTC" in pages.pop()
