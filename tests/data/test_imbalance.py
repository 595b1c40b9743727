"""Class weights: the formulas of their papers, and a mean of 1 over the training pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.imbalance import EFFECTIVE_BETA, class_weights
from sightline.errors import ConfigError

COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any)


@given(COUNTS, st.sampled_from(["balanced", "effective"]))
def test_the_mean_over_the_training_pictures_is_1(counts: list[int], weighting: str) -> None:
    weights = class_weights(counts, weighting)  # type: ignore[arg-type]
    assert len(weights) == len(counts) and all(0 < weight < np.inf for weight in weights)
    assert np.dot(counts, weights) / sum(counts) == pytest.approx(1)
    assert all(weight == 1 for weight, count in zip(weights, counts, strict=True) if not count)


def test_balanced_is_that_of_scikit_learn() -> None:
    """n / (K n_c), of compute_class_weight("balanced"): every class together counts the same."""
    counts = [70, 20, 10]
    assert class_weights(counts, "balanced") == pytest.approx([100 / (3 * count) for count in counts])
    assert np.ptp(np.multiply(counts, class_weights(counts, "balanced"))) == pytest.approx(0)


def test_a_class_without_pictures_is_no_class_of_the_balance() -> None:
    present, absent = class_weights([70, 30], "balanced"), class_weights([70, 0, 30], "balanced")
    assert absent == (present[0], 1.0, present[1])
    assert absent[0] == pytest.approx(100 / (2 * 70))


@pytest.mark.parametrize("beta", [0.9, 0.999, EFFECTIVE_BETA])
def test_effective_weighs_by_the_effective_number(beta: float) -> None:
    """Cui et al. 2019, the recursion before Proposition 1: E_n = 1 + beta E_(n-1), E_1 = 1."""
    counts = [5000, 997, 50, 1]
    numbers, effective = {}, 0.0
    for n in range(1, max(counts) + 1):
        effective = 1 + beta * effective
        numbers[n] = effective
    raw = np.array([1 / numbers[count] for count in counts])
    expected = raw * sum(counts) / np.dot(counts, raw)
    np.testing.assert_allclose(class_weights(counts, "effective", beta=beta), expected, rtol=1e-9)


def test_effective_lies_between_no_weights_and_balanced() -> None:
    counts = [100_000, 300]
    assert class_weights(counts, "effective", beta=0.0) == (1.0, 1.0)
    nearly = class_weights(counts, "effective", beta=1 - 1e-9)
    np.testing.assert_allclose(nearly, class_weights(counts, "balanced"), rtol=1e-3)
    ratio = [weights[1] / weights[0] for weights in (class_weights(counts, "effective"), nearly)]
    assert 1 < ratio[0] < ratio[1]


def test_effective_is_balanced_where_pictures_are_few() -> None:
    few = [1000, 200, 30]
    np.testing.assert_allclose(class_weights(few, "effective"), class_weights(few, "balanced"), rtol=0.05)


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"how many training pictures each class has, 0 or more and not all 0, got"):
        class_weights(counts, "balanced")


def test_unknown_names_and_betas_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no class weighting 'balance'\. Nearest: balanced"):
        class_weights([1, 2], "balance")  # type: ignore[arg-type]
    for beta in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=r"beta is .*; it must be at least 0 and below 1"):
            class_weights([1, 2], "effective", beta=beta)
