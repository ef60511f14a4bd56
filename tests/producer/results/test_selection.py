from __future__ import annotations

import tracemalloc
from itertools import chain
from typing import Any

import pytest

from fiqa.contract import ErrorCode, ImageResult, Item, Reason, Status
from fiqa.errors import UsageError
from fiqa.results.selection import Selection
from tests.producer.faceless import failed, no_face
from tests.producer.results.pages import result

RESULTS = [
    result("s3://b/two.jpg", 0.2, 0.8),
    result("s3://b/one.jpg", 0.5),
    no_face(Item(uri="s3://b/none.jpg")),
    failed(Item(uri="s3://b/gone.jpg"), ErrorCode.NOT_FOUND),
]


def chosen(results: list[ImageResult], **options: Any) -> list[ImageResult]:
    """Select from these results, in shards of two."""
    lines = [result.encode() for result in results]
    shards = [lines[first : first + 2] for first in range(0, len(lines), 2)]
    return list(chain.from_iterable(Selection(**options).batches(shards)))


def selected(**options: Any) -> list[tuple[str, list[float]]]:
    results = chosen(RESULTS, **options)
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
        ({"min_face_px": 51}, [("two.jpg", [0.2]), ("one.jpg", [0.5])]),
        ({"min_face_px": 101}, []),
        ({"min_face_px": 51, "best": True}, [("two.jpg", [0.2]), ("one.jpg", [0.5])]),
        ({"top": 1}, [("one.jpg", [0.5])]),
        ({"top": 1, "best": True}, [("two.jpg", [0.8])]),
        ({"worst": 5}, [("two.jpg", [0.2, 0.8]), ("one.jpg", [0.5])]),
        ({"worst": 5, "status": Status.NO_FACE}, []),
    ],
)
def test_a_selection_filters_images_and_their_faces(
    options: dict[str, Any], found: list[tuple[str, list[float]]]
) -> None:
    assert selected(**options) == found


def test_without_options_each_result_is_selected_as_it_is() -> None:
    assert Selection().is_all
    assert chosen(RESULTS) == RESULTS
    assert not Selection(best=True).is_all


def of(uri: str, quality: float, caller_id: str | None, *reasons: Reason, model: str = "q") -> ImageResult:
    made = result(uri, quality, id=caller_id, model=model)
    return made.model_copy(update={"faces": (made.faces[0].model_copy(update={"reasons": reasons, "measures": {}}),)})


def test_the_best_image_of_each_id_is_chosen_in_the_order_of_the_ids() -> None:
    results = [
        of("s3://b/1", 0.2, "eve"),
        of("s3://b/2", 0.9, "bob"),
        of("s3://b/3", 0.7, "eve"),
        of("s3://b/4", 0.99, None),
        no_face(Item(uri="s3://b/5", id="eve")),
        of("s3://b/6", 0.7, "eve"),  # no better than the third one
        of("s3://b/7", 0.1, "'); DROP TABLE best; --"),
        of("s3://b/8", 0.3, ""),
    ]
    uris = [each.uri[-1] for each in chosen(results, best_per_id=True)]
    assert uris == ["3", "2", "7", "8"]
    assert [each.uri[-1] for each in chosen(results, best_per_id=True, top=2)] == ["2", "3"]
    assert [each.uri[-1] for each in chosen(results, best_per_id=True, max_quality=0.5)] == ["1", "7", "8"]


def test_faces_are_selected_by_a_reason() -> None:
    results = [
        of("s3://b/1", 0.2, None, Reason.BLURRED, Reason.TOO_SMALL),
        of("s3://b/2", 0.1, None),
        of("s3://b/3", 0.1, None, Reason.BLURRED),
        result("s3://b/4", 0.1),  # of a job without measures
    ]
    assert [each.uri[-1] for each in chosen(results, reason=Reason.BLURRED)] == ["1", "3"]
    assert [each.uri[-1] for each in chosen(results, reason=Reason.BLURRED, worst=1)] == ["3"]


def test_images_of_equal_quality_keep_their_order() -> None:
    results = [of(f"s3://b/{n}", 0.5, None) for n in range(9)]
    for option in ("top", "worst"):
        assert [each.uri[-1] for each in chosen(results, **{option: 3})] == ["0", "1", "2"]


@pytest.mark.parametrize("options", [{"top": 1}, {"worst": 2}, {"best_per_id": True}])
def test_scores_of_two_models_are_not_compared(options: dict[str, Any]) -> None:
    results = [of("s3://b/1", 0.2, "a"), of("s3://b/2", 0.3, "b", model="other")]
    with pytest.raises(UsageError, match="two quality models scored these images, q and other"):
        chosen(results, **options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"top": 1, "worst": 1}, "either the best images or the worst ones"),
        ({"top": 0}, "top is 0"),
        ({"worst": -1}, "worst is -1"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Selection(**options)


@pytest.mark.parametrize("options", [{"best_per_id": True}, {"top": 10}])
def test_the_memory_does_not_grow_with_the_number_of_results(options: dict[str, Any]) -> None:
    template = of("s3://b/image", 0.5, "NUMBER").encode()

    def shards() -> Any:
        for first in range(0, 20_000, 100):
            yield [template.replace(b"NUMBER", b"%d" % number) for number in range(first, first + 100)]

    tracemalloc.start()
    number = sum(map(len, Selection(**options).batches(shards())))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert number in {10, 20_000}
    assert peak < 5 << 20  # all results as objects would be over 40 MiB
