from __future__ import annotations

from fiqa.contract import Reason
from fiqa.results.gallery import Crop, ranked_for, rows
from fiqa.results.page import render
from fiqa.results.ranking import SAMPLE, Scores
from fiqa.results.tally import tally
from tests.producer.results.pages import Page, result


def scores(number: int, faces: int) -> Scores:
    found = Scores(ranked_for(faces))
    for n in range(number):
        found.add(result(f"s3://b/{n}", n / number))
    return found


def names(number: int, faces: int) -> dict[str, list[int]]:
    return {
        row.title: [int(image.uri.rpartition("/")[2]) for image in row.images]
        for row in rows(scores(number, faces), faces)
    }


def test_the_worst_the_middle_and_the_best_faces_are_chosen() -> None:
    assert names(101, 9) == {"Worst": [0, 1, 2], "Middle": [51, 50, 49], "Best": [100, 99, 98]}
    assert names(101, 1) == {"Worst": [0]}
    assert names(101, 2) == {"Worst": [0], "Best": [100]}
    assert {title: len(found) for title, found in names(1000, 100).items()} == {"Worst": 34, "Middle": 32, "Best": 34}


def test_few_faces_are_shown_once_and_all() -> None:
    assert names(3, 9) == {"All": [2, 1, 0]}
    shown = [name for found in names(10, 9).values() for name in found]
    assert len(set(shown)) == len(shown) == 9


def test_the_middle_of_many_images_comes_from_a_sample_that_is_the_same_each_time() -> None:
    middle = names(3 * SAMPLE, 9)["Middle"]
    assert all(abs(name - 1.5 * SAMPLE) < 0.02 * SAMPLE for name in middle)
    assert names(3 * SAMPLE, 9)["Middle"] == middle
    assert len(scores(3 * SAMPLE, 9).sample) == SAMPLE


def test_a_page_shows_crops_scores_and_reasons_and_what_has_no_crop() -> None:
    good, gone = result("s3://b/faces/good.jpg", 0.8), result("s3://b/faces/gone.jpg", 0.3)
    blurred = gone.faces[0].model_copy(update={"reasons": (Reason.BLURRED,), "measures": {}})
    counted = tally([good, gone.model_copy(update={"faces": (blurred,)})], "all")
    first, second = counted.scores["q"].sample
    crops = {first: Crop(b"\xff\xd8" + b"x" * 5000), second: Crop(problem="not_found: <b>no such object</b>")}
    html = render([counted], faces=9, crops=crops)
    seen = Page(html)
    assert f'src="{crops[first].uri}"' in html
    assert "All 0.800 good.jpg" in seen.text
    assert "not_found: <b>no such object</b>0.300 blurred gone.jpg" in seen.text
    assert "img-src data:; " in seen.metas["Content-Security-Policy"]
    without = Page(render([counted], faces=9, no_crops="the page has no faces"))
    assert "Largest faces of images the page has no faces" in without.text
    assert "img" not in without.elements
    assert "img-src" not in without.metas["Content-Security-Policy"]
