from __future__ import annotations

from typing import Any

import pytest

from fiqa.contract import ErrorCode, ImageResult, Item, Status
from fiqa.results.selection import Selection
from tests.producer.faceless import failed, no_face
from tests.producer.results.pages import result

RESULTS = [
    result("s3://b/two.jpg", 0.2, 0.8),
    result("s3://b/one.jpg", 0.5),
    no_face(Item(uri="s3://b/none.jpg")),
    failed(Item(uri="s3://b/gone.jpg"), ErrorCode.NOT_FOUND),
]


def selected(**options: Any) -> list[tuple[str, list[float]]]:
    results: list[ImageResult] = list(Selection(**options).results(each.encode() for each in RESULTS))
    return [(each.uri.rpartition("/")[2], [face.quality for face in each.faces]) for each in results]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"status": Status.SCORED}, [("two.jpg", [0.2, 0.8]), ("one.jpg", [0.5])]),
        ({"status": Status.NO_FACE}, [("none.jpg", [])]),
        ({"best": True, "status": Status.SCORED}, [("two.jpg", [0.8]), ("one.jpg", [0.5])]),
        ({"min_quality": 0.5}, [("two.jpg", [0.8]), ("one.jpg", [0.5])]),
        ({"max_quality": 0.5}, [("two.jpg", [0.2]), ("one.jpg", [0.5])]),
        ({"best": True, "max_quality": 0.5}, [("one.jpg", [0.5])]),
        ({"min_quality": 0.3, "max_quality": 0.6}, [("one.jpg", [0.5])]),
        ({"status": Status.FAILED, "min_quality": 0.0}, []),
    ],
)
def test_a_selection_filters_images_and_their_faces(
    options: dict[str, Any], found: list[tuple[str, list[float]]]
) -> None:
    assert selected(**options) == found


def test_without_options_each_result_is_selected_as_it_is() -> None:
    assert Selection().is_all
    assert list(Selection().results(each.encode() for each in RESULTS)) == RESULTS
    assert not Selection(best=True).is_all
