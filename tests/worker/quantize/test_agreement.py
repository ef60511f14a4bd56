from __future__ import annotations

import numpy as np
import pytest

from fiqa_worker.quantize.agreement import rank_correlation


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 90], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 2, 4], [1, 2, 2, 9], 1),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),  # 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24)
        ([1, 1, 1], [1, 2, 3], 0),
    ],
)
def test_the_rank_correlation_is_spearmans(first: list[float], second: list[float], expected: float) -> None:
    assert rank_correlation(np.array(first, float), np.array(second, float)) == pytest.approx(expected)
