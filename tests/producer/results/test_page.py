from __future__ import annotations

import base64
import gzip
import hashlib
import math
import random
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fiqa import Client
from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, Item, Status
from fiqa.errors import SourceError
from fiqa.ledger.ledger import Ledger
from fiqa.results.advice import ADVICE
from fiqa.results.distribution import Bins, Distribution
from fiqa.results.page import render
from fiqa.results.tally import LISTED, Tally, tally, tally_file
from fiqa.results.text import per_cent, quality, shown
from tests.producer.faceless import failed, no_face, work

FIQA = [sys.executable, "-m", "fiqa"]
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
# Whatever a page of ours is made of; none of it runs, loads or leads anywhere.
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "h1", "h2", "h3", "p"),
    *("div", "span", "strong", "small", "bdi", "br", "wbr", "figure", "figcaption"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "g", "path", "rect", "text"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "scope", "role", "aria-label"),
    *("viewbox", "transform", "d", "x", "y", "rx", "ry", "width", "height"),
}


class Page(HTMLParser):
    """A page as a browser reads it: its text, its elements and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.classes: list[set[str]] = []
        self.metas: dict[str, str] = {}
        self.style = ""
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
        if self._open == "style":
            self.style += data
        else:
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


def page(*tallies: Tally) -> Page:
    return Page(render(tallies))


def write(path: Path, results: Sequence[ImageResult]) -> Path:
    data = b"".join(result.encode() + b"\n" for result in results)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def fiqa(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*FIQA, "report", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done


@pytest.mark.parametrize("number", [1, 2, 19, 1000])
def test_quantiles_are_those_of_all_values_to_four_digits(number: int) -> None:
    dice = random.Random(number)  # noqa: S311  no secret
    values = [dice.gauss(0.5, 0.3) for _ in range(number)]
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    by_rank = [sorted(values)[max(1, math.ceil(share * number)) - 1] for share in shares]
    assert distribution.quantiles(*shares) == [float(f"{value:.4g}") for value in by_rank]
    assert distribution.total == number


def test_no_values_have_no_quantiles() -> None:
    assert Distribution().quantiles(0.5) == []


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.2, 0.3, 0.7],
        [0.7],
        [0.0],
        [-3.0, -3.0],
        [-0.2, 0.9],
        [12.0, 97.5],
        [0.3 / 0.1 * 0.1, 0.6, 0.9],
        [1e308, -1e308],
        [5e-324],
        [-1e-300, 1e300],
    ],
)
def test_bins_hold_every_value_between_round_edges(values: list[float]) -> None:
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    bins = Bins.over([distribution])
    counts = distribution.binned(bins)
    assert sum(counts) == len(values)
    assert counts[0]
    assert counts[-1]
    assert 1 <= bins.number <= 30
    assert f"{bins.step:e}"[0] in "125" or bins.step < 1e-300


def test_a_value_on_an_edge_is_in_the_bin_above_it() -> None:
    distribution = Distribution()
    for tenth in range(11):
        distribution.add(tenth / 10)
    bins = Bins(step=0.1, first=0, number=11)
    assert distribution.binned(bins) == [1] * 11


def test_the_best_and_the_worst_images_are_those_of_all_and_equal_ones_in_the_order_they_came() -> None:
    dice = random.Random(7)  # noqa: S311  no secret
    results = [result(f"s3://b/{n}", dice.choice([0.1, 0.2, 0.3, n / 1000]), 0.99) for n in range(500)]
    scores = tally(results, "all").scores["q"]

    best_first = sorted(results, key=lambda one: -one.faces[0].quality)
    worst_first = sorted(results, key=lambda one: one.faces[0].quality)
    assert [image.uri for image in scores.best] == [one.uri for one in best_first[:LISTED]]
    assert [image.uri for image in scores.worst] == [one.uri for one in worst_first[:LISTED]]
    assert (scores.largest.total, scores.every.total, scores.every.high) == (500, 1000, 0.99)


def test_a_tally_holds_no_more_of_many_results_than_of_few() -> None:
    def results(number: int) -> Iterator[ImageResult]:
        for n in range(number):
            yield result(f"s3://b/{n}" + "x" * 500, n % 500 / 500)

    held = []
    for number in (1_000, 10_000):
        tracemalloc.start()
        counted = tally(results(number), "all")
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert counted.images == number
    assert held[1] < 1.5 * held[0]


def test_every_error_code_has_its_advice() -> None:
    assert set(ADVICE) == set(ErrorCode)


def test_a_page_tells_the_counts_the_quality_and_what_to_do() -> None:
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
    assert seen.count("chart") == 3
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


def test_inputs_of_one_model_share_a_chart_each_in_its_color() -> None:
    low, high = (tally([result(f"s3://{name}/{n}", base + n / 100) for n in range(40)], name) for name, base in
                 (("low", 0.1), ("high", 0.5)))  # fmt: skip
    html = render([low, high])
    (chart,) = re.findall(r"<svg[^>]*Quality of.*?</svg>", html)
    assert [len(re.findall(rf'series serie-\d color-{n}"><path', chart)) for n in range(3)] == [1, 1, 0]
    assert "never comparable" not in html


def test_scores_of_two_models_are_kept_apart_and_the_page_says_so() -> None:
    one = tally([result("s3://a/1", 0.3, model="first"), result("s3://a/2", 0.8, model="second")], "one")
    two = tally([result("s3://b/1", 20.0, model="second")], "two")
    three = tally([result("s3://c/1", 0.4, model="first")], "three")
    html = render([one, two, three])

    charts = re.findall(r"<svg[^>]*Quality of.*?</svg>", html)
    drawn = [re.findall(r"color-(\d)\"><(?:path|g class=\"histbar)", re.sub(r'<g class="histbars">', "", chart))
             for chart in charts]  # fmt: skip
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


def test_a_hostile_page_holds_nothing_that_runs_loads_or_leads_away() -> None:
    html = render(hostile())
    seen = Page(html)
    assert set(seen.elements) <= ELEMENTS
    assert set(seen.attributes) <= ATTRIBUTES
    assert seen.elements["style"] == 1
    for text in HOSTILE:
        assert " ".join(text.split()) in seen.text  # as it was given, for people to read
    assert "49" not in Page(render([tally([result(HOSTILE[10], 0.5)], "t")])).text.partition("Made")[0]


def test_the_policy_allows_nothing_but_the_pages_own_style() -> None:
    html = render(hostile())
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert Page(html).metas["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style


def browse(path: Path, profile: Path) -> tuple[str, list[str]]:
    """The page as Chromium has it after its scripts, and what they, or the policy, wrote to the console."""
    chromium = shutil.which("chromium")
    assert chromium
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    done = subprocess.run(
        [chromium, *flags, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's package chromium")
def test_chromium_runs_nothing_of_a_hostile_page_and_has_nothing_to_complain_of(tmp_path: Path) -> None:
    page = tmp_path / "hostile.html"
    page.write_text(render(hostile()))
    dom, console = browse(page, tmp_path / "profile")
    assert console == []
    seen = Page(dom)
    assert set(seen.elements) <= ELEMENTS
    assert set(seen.attributes) <= ATTRIBUTES
    assert seen.elements["svg"] == Page(page.read_text()).elements["svg"]

    page.write_text(f"<title>t</title>{HOSTILE[0]}")  # the same attack where nothing is escaped
    dom, console = browse(page, tmp_path / "profile")
    assert "<title>owned</title>" in dom
    assert len(console) == 1


def test_what_cannot_be_seen_is_written_out() -> None:
    assert shown("a\u202egpj.exe\n\x00\u200b é 中 \ud800") == "a\\u202egpj.exe\\n\\x00\\u200b é 中 \\ud800"
    assert shown("x" * 10, most=4) == "xxxx..."
    seen = page(tally([result("s3://b/\u202egpj.exe", 0.5, model="m" * 5000)], "n\x1b[31m"))
    assert "s3://b/\\u202egpj.exe" in seen.text
    assert "n\\x1b[31m: 1 image" in seen.text
    assert "m" * 501 not in seen.text


def test_numbers_are_written_for_people() -> None:
    assert [per_cent(*pair) for pair in ((0, 9), (1, 10_000), (1, 3), (9_999, 10_000), (9, 9), (0, 0))] == [
        *("0 %", "under 0.1 %", "33.3 %", "over 99.9 %", "100 %", "0 %")
    ]
    assert [quality(value) for value in (0.0, 0.71234, -0.5, 0.00012, 54321.0)] == [
        *("0.000", "0.712", "-0.500", "0.00012", "5.432e+04")
    ]


def test_the_command_writes_a_page_of_files(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    write(tmp_path / "b.jsonl.gz", [result("s3://b/2", 0.6), result("s3://b/3")])
    done = fiqa("a.jsonl", "b.jsonl.gz", "-o", "report.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "3 results in report.html\n")
    seen = Page((tmp_path / "report.html").read_text())
    assert "a.jsonl: 1 image, 1 scored" in seen.text
    assert "b.jsonl.gz: 2 images, 1 scored, 1 without a face" in seen.text


def test_lines_that_are_not_results_are_reported_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    with path.open("ab") as file:
        file.write(b"<script>\n\n" + b'{"v": 1}\n' * 4 + b"x" * (17 << 20) + b"\n" + result("s3://b/2", 0.7).encode())
    done = fiqa(path, "-o", tmp_path / "report.html")
    assert done.returncode == 0
    *told, last, wrote = done.stderr.splitlines()
    assert [re.findall(r"line (\d+): ", line) for line in told] == [["2"], ["4"], ["5"]]
    assert last == f"fiqa: {path}: 6 lines in all are not results; the report leaves them out"
    assert wrote.startswith("2 results in ")
    assert "6 lines were left out: they are not results." in Page((tmp_path / "report.html").read_text()).text


def test_the_command_reads_a_job_also_while_it_runs(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIQA_REDIS_URL", redis_url)
    monkeypatch.setenv("FIQA_STORAGE", "redis")

    def scored(item: Item) -> ImageResult:
        return result(item.uri, int(item.uri.rpartition("/")[2]) / 100)

    with Client() as client, closing(Ledger(redis_url)) as ledger:
        job = client.submit((f"s3://b/{n}" for n in range(1, 61)), name="<b>front door</b>", chunk_size=20)
        work(ledger, 2, scored)
        assert fiqa(job.id, "-o", tmp_path / "some.html").stderr == f"40 results in {tmp_path / 'some.html'}\n"
        work(ledger, end=scored)
        assert fiqa(job.id, "-o", tmp_path / "all.html").stderr == f"60 results in {tmp_path / 'all.html'}\n"

    some, everything = (Page((tmp_path / name).read_text()) for name in ("some.html", "all.html"))
    assert f"<b>front door</b> ({job.id}) is running: this page shows 40 of 60 images." in some.text
    assert f"<b>front door</b> ({job.id}): 60 images, 60 scored" in everything.text
    assert "Job succeeded Started 20" in everything.text
    assert "Images a second" in everything.text
    assert "is running" not in everything.text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.jsonl", "No such file or directory"),
        ("folder", "Is a directory"),
        ("words.txt", "holds no result: a report reads what `fiqa results` and `fiqa run` write as JSONL"),
        ("cut.jsonl.gz", "Compressed file ended before the end-of-stream marker was reached"),
        ("no.jsonl.gz", "Not a gzipped file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_that_says_why(name: str, told: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.jsonl.gz", [result("s3://b/1", 0.5)]).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    (tmp_path / "folder").mkdir()
    for text in ("words.txt", "no.jsonl.gz"):
        (tmp_path / text).write_text("no result\n")
    with pytest.raises(SourceError) as caught:
        tally_file(tmp_path / name, on_bad_line=lambda _: None)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
        (["good.jsonl"] * 7, "a report sets at most 6 side by side: join files that belong together"),
        (["good.jsonl", "-o", "no/where.html"], "cannot write no/where.html: No such file or directory"),
        (["no-job"], "'no-job' is not a job id: `fiqa jobs` lists them"),
    ],
)
def test_a_wrong_call_is_one_line_and_loses_no_page(arguments: list[str], told: str, tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", [result("s3://b/1", 0.5)])
    (tmp_path / "report.html").write_text("yesterday's")
    done = fiqa("-o", "report.html", *arguments, cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert done.stderr == f"fiqa: {told}\n"
    assert (tmp_path / "report.html").read_text() == "yesterday's"


def test_a_file_that_names_no_end_of_models_is_refused() -> None:
    results = (result("s3://b/1", 0.5, model=f"m{n}") for n in range(100))
    with pytest.raises(SourceError, match="more than 16 pairs of models"):
        tally(results, "made-up.jsonl")


def test_the_command_loads_what_draws_only_when_it_draws() -> None:
    code = "import fiqa.cli.report, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fiqa" in done.stdout.split()
    assert not {"jinja2", "pygal", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize("missing", ["jinja2", "pygal"])
def test_without_the_extra_one_line_says_what_to_install(missing: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result("s3://b/1", 0.5)])
    code = f"import sys; sys.modules[{missing!r}] = None; from fiqa.cli.main import main; main()"
    command = [sys.executable, "-c", code, "report", str(path), "-o", str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"fiqa: a report needs {missing}: pip install 'fiqa[report]'\n")
    assert not (tmp_path / "report.html").exists()


def test_a_page_is_the_same_whenever_it_is_made_of_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [result(f"s3://b/{n}", n / 50) for n in range(50)])
    now = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    pages = {render([tally_file(path, on_bad_line=lambda error: pytest.fail(str(error)))], now=now) for _ in range(2)}
    assert len(pages) == 1
    assert "2026-01-02 03:04 UTC" in pages.pop()
