"""Intervals against published tables, the paired test against whole-number sums."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError
from sightline.metrics import Interval, mcnemar, wilson

# Newcombe 1998, Statistics in Medicine 17, Table I, method 3 (score, no continuity correction).
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("successes", "count", "low", "high"), NEWCOMBE)
def test_wilson_gives_newcombes_table(successes: int, count: int, low: float, high: float) -> None:
    interval = wilson(successes, count)
    assert interval.value == successes / count
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_ends_are_exact_where_all_or_none_succeed() -> None:
    for count in (1, 7, 10_000, 10_000_019):
        assert wilson(0, count).low == 0.0
        assert wilson(count, count).high == 1.0


@given(st.integers(1, 100_000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_ends_are_where_the_score_test_stands_at_five_percent(pair: tuple[int, int]) -> None:
    successes, count = pair
    interval = wilson(successes, count)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 0 < end < 1:  # the definition: |p - end| is 1.96 standard errors, the error taken at the end
            assert abs(interval.value - end) == pytest.approx(1.959964 * (end * (1 - end) / count) ** 0.5, rel=1e-5)
    mirrored = wilson(count - successes, count)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-12)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_impossible_counts(successes: int, count: int) -> None:
    with pytest.raises(ConfigError, match=f"0 to n successes of n >= 1 samples, got {successes} of {count}"):
        wilson(successes, count)


def test_interval_prints_percent_and_gives_plain_numbers() -> None:
    interval = Interval(0.5, 0.25, 0.75)
    assert str(interval) == "50.0% [25.0%, 75.0%]"
    assert interval.to_dict() == {"value": 0.5, "low": 0.25, "high": 0.75}


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second"),
    [(0, 0), (1, 0), (0, 5), (1, 9), (9, 1), (6, 6), (7, 8), (480, 520), (481, 520), (1500, 1620)],
)
def test_mcnemar_is_the_two_sided_binomial_test(only_first: int, only_second: int) -> None:
    result = mcnemar(*answers(30, only_first, only_second, 4))
    count = only_first + only_second
    # every way to split the disagreements that is at most as balanced as the one seen
    seen = abs(only_first - only_second)
    extreme = sum(comb(count, heads) for heads in range(count + 1) if abs(2 * heads - count) >= seen)
    assert (result.only_first, result.only_second) == (only_first, only_second)
    assert result.p_value == pytest.approx(float(Fraction(extreme, 2**count)), rel=1e-9)


def test_mcnemar_ignores_the_pictures_on_which_both_agree() -> None:
    assert mcnemar(*answers(0, 3, 12, 0)) == mcnemar(*answers(500, 3, 12, 90))


def test_mcnemar_refuses_answers_of_other_lengths() -> None:
    with pytest.raises(
        ConfigError, match=r"one answer of each model per picture, got \(3,\) and \(2,\). Evaluate both"
    ):
        mcnemar([True, False, True], [True, False])
