from __future__ import annotations

from fiqa.ledger import limits


def test_a_lease_outlives_several_renewals_that_fail() -> None:
    assert 5 * limits.LEASES_RENEWED_EVERY_S < limits.LEASE_S < limits.LONGEST_LEASE_S


def test_virtual_times_of_one_rank_do_not_reach_the_next_and_are_exact_in_redis() -> None:
    images = 100_000_000
    assert 1_000 * images <= limits.RANK_SPAN
    assert 3 * limits.RANK_SPAN < 2**53  # scores of a sorted set are doubles


def test_a_pace_has_several_buckets_in_its_window() -> None:
    assert limits.PACE_WINDOW_S % limits.PACE_BUCKET_S == 0
    assert limits.PACE_WINDOW_S // limits.PACE_BUCKET_S >= 10
