from __future__ import annotations

import math
import random

import pytest

from fiqa.results.distribution import Bins, Distribution


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
