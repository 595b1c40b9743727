"""Softmax, order and confusion against loops and exact fractions."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sightline.errors import ConfigError
from sightline.metrics import confusion_matrix, negative_log_likelihood, probabilities, ranking, top_k_correct

SCORES = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.integers(-3, 3))


def slow_softmax(row: list[float]) -> list[float]:
    total = math.fsum(math.exp(score) for score in row)
    return [math.exp(score) / total for score in row]


def test_probabilities_are_the_softmax_of_the_scaled_logits() -> None:
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 3.0]], np.float32)
    for temperature in (0.5, 1.0, 2.5):
        stated = probabilities(logits, temperature)
        assert stated.dtype == np.float32
        for row, scores in zip(stated, logits.tolist(), strict=True):
            assert row.tolist() == pytest.approx(slow_softmax([score / temperature for score in scores]), rel=1e-7)


def test_probabilities_stand_huge_logits() -> None:
    stated = probabilities(np.array([[1e6, 0.0, -1e6]], np.float32))
    assert stated.tolist() == [[1.0, 0.0, 0.0]]


def test_temperature_never_changes_the_answer() -> None:
    logits = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    for temperature in (0.1, 0.7, 3.0, 10.0):
        assert (probabilities(logits, temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ConfigError, match=f"the temperature must be above 0, got {temperature}"):
        probabilities(np.zeros((1, 2)), temperature)


def test_negative_log_likelihood_is_the_mean_over_the_samples() -> None:
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 3.0]])
    expected = -(math.log(slow_softmax([0.5, -1.0, 0.25])[2]) + math.log(slow_softmax([0.0, 1.5, 1.5])[0])) / 2
    assert negative_log_likelihood(logits, np.array([2, 0]), temperature=2.0) == pytest.approx(expected, rel=1e-12)


def test_negative_log_likelihood_stays_finite_where_the_probability_underflows() -> None:
    assert negative_log_likelihood(np.array([[0.0, 5000.0]]), np.array([0])) == 5000.0


@given(SCORES, st.integers(1, 9))
def test_ranking_puts_the_lower_index_first_among_equals(scores: np.ndarray, k: int) -> None:
    for row, found in zip(scores.tolist(), ranking(scores, k).tolist(), strict=True):
        assert found == sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]


@given(SCORES, st.integers(1, 9), st.randoms(use_true_random=False))
def test_top_k_says_whether_the_ranking_holds_the_class(scores: np.ndarray, k: int, random: Random) -> None:
    labels = np.array([random.randrange(scores.shape[1]) for _ in scores])
    expected = [label in row for label, row in zip(labels.tolist(), ranking(scores, k).tolist(), strict=True)]
    assert top_k_correct(scores, labels, k).tolist() == expected


def test_confusion_has_a_row_for_each_true_class() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([1, 0, 1, 0, 0, 2])
    expected = np.zeros((4, 4), int)
    for true, answer in zip(labels, predicted, strict=True):
        expected[true, answer] += 1
    assert confusion_matrix(labels, predicted, 4).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0]), r"got \(2, 3\) and \(1,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), r"at least one sample are needed, got \(0, 3\) and \(0,\)"),
        (np.zeros(3), np.array([0, 1, 2]), r"scores \(N, K\) and labels \(N,\)"),
        (np.zeros((2, 3)), np.array([0, 3]), "labels must be 0 to 2, got 0 to 3"),
        (np.zeros((2, 3)), np.array([-1, 0]), "labels must be 0 to 2, got -1 to 0"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_refused(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    for function in (negative_log_likelihood, lambda scores, labels: top_k_correct(scores, labels, 1)):
        with pytest.raises(ConfigError, match=message):
            function(scores, labels)
