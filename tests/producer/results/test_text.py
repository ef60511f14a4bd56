from __future__ import annotations

from fiqa.results.text import per_cent, quality


def test_numbers_are_written_for_people() -> None:
    assert [per_cent(*pair) for pair in ((0, 9), (1, 10_000), (1, 3), (9_999, 10_000), (9, 9), (0, 0))] == [
        *("0 %", "under 0.1 %", "33.3 %", "over 99.9 %", "100 %", "0 %")
    ]
    assert [quality(value) for value in (0.0, 0.71234, -0.5, 0.00012, 54321.0)] == [
        *("0.000", "0.712", "-0.500", "0.00012", "5.432e+04")
    ]
