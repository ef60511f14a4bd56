"""The page of a report in a real browser: its threshold, its policy, and a narrow screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fiqa.results.gallery import Crop
from fiqa.results.page import render
from fiqa.results.tally import tally
from tests.producer.results.browser import CHROMIUM, Browser, browser
from tests.producer.results.pages import Page, result
from tests.producer.results.test_page import ATTRIBUTES, ELEMENTS, HOSTILE, hostile

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's package chromium")

RIGHT, LEFT_KEY = ("ArrowRight", 39), ("ArrowLeft", 37)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def shown(tab: Browser) -> list[str]:
    """The value of the threshold, and what the page says about each input."""
    return [str(text) for text in tab.value("[...document.querySelectorAll('output')].map(each => each.innerText)")]


def test_the_threshold_moves_with_its_counts_and_its_line(tab: Browser, tmp_path: Path) -> None:
    good = tally([result(f"s3://b/{n}", n / 100, 0.05) for n in range(100)], "good")
    poor = tally([result(f"s3://b/{n}", n / 200) for n in range(200)], "poor")
    (tmp_path / "page.html").write_text(render([good, poor]))
    tab.console.clear()
    tab.requests.clear()
    tab.open(tmp_path / "page.html")

    assert tab.value("document.querySelector('.threshold-panel').checkVisibility()")
    tab.value("document.querySelector('input').focus()")
    tab.press("Home", 36)
    everything = ["100 of 100 images with a face pass (100 %), 200 of 200 faces (100 %)",
                  "200 of 200 images with a face pass (100 %), 200 of 200 faces (100 %)"]  # fmt: skip
    assert shown(tab) == ["0.000", *everything]
    place = "document.querySelector('.threshold').getBoundingClientRect().left"
    start = tab.value(place)
    for _ in range(100):
        tab.press(*RIGHT)
    assert shown(tab) == [
        "0.500",
        "50 of 100 images with a face pass (50 %), 50 of 200 faces (25 %)",
        "100 of 200 images with a face pass (50 %), 100 of 200 faces (50 %)",
    ]
    half = tab.value(place)
    assert half > start + 50
    tab.press(*LEFT_KEY)
    assert shown(tab)[0] == "0.495"
    assert tab.value("document.querySelector('input').getAttribute('aria-valuetext')") == "0.495"
    tab.press("End", 35)
    assert shown(tab)[1:] == [
        "0 of 100 images with a face pass (0 %), 0 of 200 faces (0 %)",
        "0 of 200 images with a face pass (0 %), 0 of 200 faces (0 %)",
    ]
    assert tab.value("document.querySelectorAll('svg[aria-label^=\"Quality of\"] .line').length") == 2
    assert tab.console == []
    assert tab.requests == [(tmp_path / "page.html").as_uri()]


def test_faces_are_a_part_of_the_page_and_nothing_is_loaded_for_them(tab: Browser, tmp_path: Path) -> None:
    image = cv2.imencode(".jpg", np.full((112, 112, 3), 90, np.uint8))[1].tobytes()
    counted = tally([result(HOSTILE[1], 0.5), result("s3://b/2", 0.7)], "all")
    first, second = counted.scores["q"].sample
    crops = {first: Crop(image), second: Crop(problem=HOSTILE[0])}
    (tmp_path / "page.html").write_text(render([counted], faces=9, crops=crops))
    tab.console.clear()
    tab.requests.clear()
    tab.open(tmp_path / "page.html")
    assert tab.value("[...document.images].map(each => each.naturalWidth)") == [112]
    assert HOSTILE[0] in tab.value("document.querySelector('.missing').innerText")
    assert tab.console == []
    assert [url.partition(":")[0] for url in tab.requests] == ["file", "data"]


@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_is_wider_than_the_screen(tab: Browser, tmp_path: Path, width: int) -> None:
    long_name = "s3://bucket/" + "a-very-long-name-" * 12
    inputs = [
        tally([result(long_name, 0.5, id="x" * 300), result("s3://b/2", 0.7)], f"{long_name}{n}") for n in range(6)
    ]
    (tmp_path / "page.html").write_text(render(inputs))
    tab.resize(width)
    tab.open(tmp_path / "page.html")
    assert tab.value("document.documentElement.scrollWidth") <= width


def test_nothing_of_a_hostile_page_runs_and_no_error_is_logged(tab: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render(hostile()))
    tab.console.clear()
    tab.requests.clear()
    tab.open(path)
    seen = Page(tab.value("document.documentElement.outerHTML"))
    assert tab.console == []
    assert tab.requests == [path.as_uri()]
    assert set(seen.elements) <= ELEMENTS
    assert set(seen.attributes) <= ATTRIBUTES | {"transform", "aria-valuetext"}  # what the page's script sets
    assert seen.elements["svg"] == Page(path.read_text()).elements["svg"]

    path.write_text(f"<title>t</title>{HOSTILE[0]}")  # the same attack where nothing is escaped
    tab.open(path)
    assert tab.value("document.title") == "owned"
    assert len(tab.console) == 1


def test_without_scripts_the_page_has_the_same_counts_as_a_table(tab: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render([tally([result(f"s3://b/{n}", n / 100) for n in range(100)], "good")]))
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(tmp_path / "page.html")
        assert not tab.value("document.querySelector('.threshold-panel').checkVisibility()")
        rows = tab.value("document.querySelector('.passing').innerText")
        assert "0.500\t50 50 %\t50 50 %" in rows
    finally:
        tab.send("Emulation.setScriptExecutionDisabled", value=False)
