from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiqa.contract import ImageResult
from fiqa.errors import SourceError
from fiqa.results.ranking import LISTED
from fiqa.results.tally import tally, tally_file
from tests.producer.results.pages import result, write


def test_the_best_and_the_worst_images_are_those_of_all_and_equal_ones_in_the_order_they_came() -> None:
    dice = random.Random(7)  # noqa: S311  no secret
    results = [result(f"s3://b/{n}", dice.choice([0.1, 0.2, 0.3, n / 1000]), 0.99) for n in range(500)]
    scores = tally(results, "all").scores["q"]

    best_first = sorted(results, key=lambda one: -one.faces[0].quality)
    worst_first = sorted(results, key=lambda one: one.faces[0].quality)
    assert [image.uri for image in scores.best] == [one.uri for one in best_first[:LISTED]]
    assert [image.uri for image in scores.worst] == [one.uri for one in worst_first[:LISTED]]
    assert (scores.largest.total, scores.every.total, scores.every.high) == (500, 1000, 0.99)


def test_the_memory_of_a_tally_does_not_grow_with_the_results() -> None:
    def results(number: int) -> Iterator[ImageResult]:
        for n in range(number):
            yield result(f"s3://b/{n}" + "x" * 500, n % 500 / 500)

    held = []
    for number in (3_000, 12_000):
        tracemalloc.start()
        counted = tally(results(number), "all")
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert counted.images == number
    assert held[1] < 1.5 * held[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.jsonl", "No such file or directory"),
        ("folder", "Is a directory"),
        ("words.txt", "holds no result: a report reads what `fiqa results` and `fiqa run` write as JSONL"),
        ("cut.jsonl.gz", "Compressed file ended before the end-of-stream marker was reached"),
        ("no.jsonl.gz", "Not a gzipped file"),
    ],
)
def test_the_error_for_a_file_that_cannot_be_read_is_one_line_that_says_why(
    name: str, message: str, tmp_path: Path
) -> None:
    whole = write(tmp_path / "whole.jsonl.gz", [result("s3://b/1", 0.5)]).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    (tmp_path / "folder").mkdir()
    for text in ("words.txt", "no.jsonl.gz"):
        (tmp_path / text).write_text("no result\n")
    with pytest.raises(SourceError) as caught:
        tally_file(tmp_path / name, on_bad_line=lambda _: None)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert message in str(caught.value)


def test_a_file_that_names_too_many_models_is_refused() -> None:
    results = (result("s3://b/1", 0.5, model=f"m{n}") for n in range(100))
    with pytest.raises(SourceError, match="more than 16 pairs of models"):
        tally(results, "made-up.jsonl")
