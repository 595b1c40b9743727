"""Bins and calibration error by hand; the temperature against a fine grid and against the labels' own temperature."""

import numpy as np
import pytest

from sightline.errors import ConfigError
from sightline.metrics import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
    reliability_bins,
    wilson,
)


def two_classes(confidences: list[float], is_right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Answers of class 0, stated with these probabilities."""
    stated = np.array([[confidence, 1 - confidence] for confidence in confidences])
    return stated, np.array([0 if right else 1 for right in is_right])


def test_bins_group_answers_by_stated_probability() -> None:
    stated, labels = two_classes([0.55, 0.58, 0.9, 0.92, 0.925, 0.61], [True, False, True, True, False, True])
    bins = reliability_bins(stated, labels, num_bins=10)
    assert [(round(each.lower, 9), round(each.upper, 9), each.count) for each in bins] == [
        (0.5, 0.6, 2),
        (0.6, 0.7, 1),
        (0.8, 0.9, 1),  # 0.9 itself: the upper end is included
        (0.9, 1.0, 2),
    ]
    assert [each.accuracy.value for each in bins] == [0.5, 1.0, 1.0, 0.5]
    assert [each.confidence for each in bins] == pytest.approx([0.565, 0.61, 0.9, 0.9225])
    assert bins[0].accuracy == wilson(1, 2)
    by_hand = (2 * abs(0.5 - 0.565) + abs(1 - 0.61) + abs(1 - 0.9) + 2 * abs(0.5 - 0.9225)) / 6
    assert expected_calibration_error(bins) == pytest.approx(by_hand)


def test_there_are_fifteen_bins_as_in_the_paper_and_the_ends_belong_to_them() -> None:
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    (only,) = reliability_bins(certain, np.array([0, 1]))
    assert (only.lower, only.upper, only.count) == (14 / 15, 1.0, 2)
    uniform = np.full((1, 40), 1 / 40)
    assert reliability_bins(uniform, np.array([3]))[0].lower == 0.0


def test_stated_probabilities_that_come_true_have_a_small_calibration_error() -> None:
    random = np.random.default_rng(0)
    confidences = random.uniform(0.5, 1, 200_000)
    stated, labels = two_classes(confidences.tolist(), (random.uniform(size=200_000) < confidences).tolist())
    assert expected_calibration_error(reliability_bins(stated, labels)) < 0.01
    assert expected_calibration_error(reliability_bins(stated, 1 - labels)) > 0.4


def test_brier_score_by_hand() -> None:
    stated = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    by_hand = ((0.3**2 + 0.2**2 + 0.1**2) + (0 + 1**2 + 1**2)) / 2
    assert brier_score(stated, np.array([0, 2])) == pytest.approx(by_hand)
    assert stated[0, 0] == 0.7  # the argument is not changed


def drawn(true_temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(1)
    logits = random.normal(size=(count, 5)) * 3
    stated = probabilities(logits, true_temperature).astype(np.float64)
    return logits.astype(np.float32), (stated.cumsum(axis=1) < random.uniform(size=(count, 1))).sum(axis=1).clip(0, 4)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5, 6.0])
def test_temperature_finds_the_one_the_labels_were_drawn_with(true_temperature: float) -> None:
    found = fit_temperature(*drawn(true_temperature))
    assert found == pytest.approx(true_temperature, rel=0.05)


@pytest.mark.parametrize("true_temperature", [0.4, 2.5])
def test_no_temperature_of_a_fine_grid_is_better(true_temperature: float) -> None:
    logits, labels = drawn(true_temperature, count=300)
    best = negative_log_likelihood(logits, labels, fit_temperature(logits, labels))
    grid = [negative_log_likelihood(logits, labels, temperature) for temperature in np.geomspace(0.1, 10, 400)]
    assert best <= min(grid)
    assert best == pytest.approx(min(grid), rel=1e-3)


def test_calibrating_lowers_the_calibration_error_and_keeps_the_answers() -> None:
    logits, labels = drawn(3.0)
    temperature = fit_temperature(logits, labels)
    before, after = (
        expected_calibration_error(reliability_bins(probabilities(logits, value), labels))
        for value in (1.0, temperature)
    )
    assert before > 0.15
    assert after < 0.02


def test_temperature_is_one_where_every_answer_is_right() -> None:
    assert fit_temperature(np.array([[3.0, 1.0], [0.0, 0.5]]), np.array([0, 1])) == 1.0


def test_temperature_stays_within_its_bounds() -> None:
    wrong = np.array([[3.0, 1.0], [0.0, 0.5]]), np.array([1, 0])
    assert fit_temperature(*wrong) == 10.0
    nearly_right = np.array([[0.1, 0.0]] * 99 + [[1e-6, 0.0]]), np.array([0] * 99 + [1])
    assert fit_temperature(*nearly_right) == 0.1


@pytest.mark.parametrize("function", [reliability_bins, brier_score, fit_temperature])
def test_shapes_that_do_not_fit_are_refused(function: object) -> None:
    with pytest.raises(ConfigError, match=r"scores \(N, K\) and labels \(N,\)"):
        function(np.zeros((2, 3)), np.array([0]))  # type: ignore[operator]
