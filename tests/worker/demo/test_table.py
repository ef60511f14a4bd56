from __future__ import annotations

import io

from rich.console import Console

from fiqa.contract import ErrorCode, ImageResult, Item
from fiqa_worker.demo.table import best_first, table
from tests.producer.faceless import failed, no_face
from tests.producer.results.pages import result

RESULTS = [
    no_face(Item(uri="file:///demo/empty.jpg")),
    result("file:///demo/dull.jpg", 0.25),
    failed(Item(uri="file:///demo/broken.jpg"), ErrorCode.DECODE_FAILED),
    result("file:///demo/two.jpg", 0.75, 0.99),
]


def names(results: list[ImageResult]) -> list[str]:
    return [each.uri.rpartition("/")[2] for each in results]


def test_photos_are_sorted_by_their_largest_face_and_those_without_one_by_name() -> None:
    assert names(best_first(RESULTS)) == ["two.jpg", "dull.jpg", "broken.jpg", "empty.jpg"]


def test_each_photo_has_a_row_with_its_quality_or_the_reason_why_it_has_none() -> None:
    output = io.StringIO()
    Console(file=output, width=100).print(table(best_first(RESULTS)))
    title, *rows = [line.split() for line in output.getvalue().splitlines()]
    assert title == ["photo", "size", "faces", "quality"]
    assert [row[0] for row in rows] == names(best_first(RESULTS))
    assert [row[2:4] for row in rows[:2]] == [["2", "0.750"], ["1", "0.250"]]
    assert rows[2][1:] == ["-", "-", "-", "decode_failed"]
    assert rows[3][1:] == ["-", "-", "-", "no", "face"]
    assert len(rows[0][4]) > len(rows[1][4])  # the bars
