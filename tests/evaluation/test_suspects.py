"""Confident learning: by hand, against a plain transcription of the paper, and against cleanlab's recorded answers."""

import numpy as np
import pytest

from sightline.errors import ConfigError
from sightline.evaluation.suspects import (
    calibrated_joint,
    class_thresholds,
    confident_joint,
    find_suspects,
)


def noisy(seed: int, *, count: int = 120, classes: int = 3, noise: float = 0.3, sharp: float = 1.5):
    """Probabilities of a fair judge, and labels of which some say another class."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    given = np.where(rng.random(count) < noise, rng.integers(0, classes, count), true)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), true] += sharp
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(1, keepdims=True), given, true


# ------------------------------------------------------------------------------------------------------------- by hand

# Class 0 has the rows 0 to 3, class 1 the rows 4 to 6, class 2 the row 7.
BY_HAND = np.array(
    [
        [0.90, 0.05, 0.05],  # 0 above 0.60: counted there
        [0.70, 0.20, 0.10],  # likewise
        [0.65, 0.30, 0.05],  # likewise
        [0.15, 0.80, 0.05],  # above 0.50 of class 1
        [0.30, 0.60, 0.10],  # rightly of 1
        [0.60, 0.40, 0.00],  # reaches 0.60 of class 0, and not 0.50
        [0.45, 0.50, 0.05],  # reaches 0.50
        [0.40, 0.25, 0.35],  # of class 2, by its own threshold, 0.35; the most probable class does not reach its own
    ]
)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2])


def test_the_thresholds_are_the_mean_probability_of_each_class_in_its_own_samples() -> None:
    np.testing.assert_allclose(class_thresholds(BY_HAND, LABELS), [0.6, 0.5, 0.35])


def test_the_confident_joint_counts_what_reaches_the_thresholds() -> None:
    assert confident_joint(BY_HAND, LABELS).tolist() == [[3, 1, 0], [1, 2, 0], [0, 0, 1]]


def test_of_two_classes_that_are_reached_the_more_probable_one_counts() -> None:
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9], [0.55, 0.45], [0.6, 0.4]])
    labels = np.array([0, 0, 1, 1])  # thresholds 0.3 and 0.425
    assert confident_joint(probabilities, labels).tolist() == [[1, 1], [2, 0]]


def test_the_joint_has_as_many_of_each_class_as_there_are() -> None:
    joint = calibrated_joint(np.array([[3, 1, 0], [1, 2, 0], [0, 0, 1]]), np.array([4, 3, 1]))
    np.testing.assert_allclose(joint, np.array([[3, 1, 0], [1, 2, 0], [0, 0, 1]]) / 8)
    found = find_suspects(BY_HAND, LABELS)
    np.testing.assert_allclose(found.noise, [1 / 4, 1 / 3, 0])


def test_who_is_found_and_in_which_order() -> None:
    found = find_suspects(BY_HAND, LABELS)
    assert (found.indices.tolist(), found.given.tolist(), found.suggested.tolist()) == ([3, 5], [0, 1], [1, 0])
    np.testing.assert_allclose(found.scores, [0.85, 0.6])
    by_margin = find_suspects(BY_HAND, LABELS, ranking="margin")
    np.testing.assert_allclose(by_margin.scores, [0.65, 0.2])
    assert len(found) == 2


def test_a_sample_whose_given_class_is_the_most_probable_is_never_found() -> None:
    # half of class 0 is confidently of class 1, but one of those that the numbers would take is rightly labelled
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.45, 0.55], [0.52, 0.48], [0.7, 0.3], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 0, 1, 1])
    for pruning in ("noise_rate", "self_confidence", "both", "confident"):
        found = find_suspects(probabilities, labels, pruning=pruning)
        assert (found.given != found.suggested).all()
        assert (probabilities.argmax(1)[found.indices] == found.suggested).all()
        assert 3 not in found.indices


# ------------------------------------------------------------------------------------------------------- independently


def by_the_paper(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Eq. 1 and 2, sample by sample."""
    classes = probabilities.shape[1]
    thresholds = []
    for label in range(classes):
        own = [row[label] for row, given in zip(probabilities, labels, strict=True) if given == label]
        thresholds.append(sum(own) / len(own))
    counted = np.zeros((classes, classes), int)
    for row, given in zip(probabilities, labels, strict=True):
        reached = [(row[label], label) for label in range(classes) if row[label] >= thresholds[label] - 1e-6]
        if reached:
            counted[given, max(reached)[1]] += 1
    return counted


@pytest.mark.parametrize("seed", range(4))
def test_the_confident_joint_is_the_papers(seed: int) -> None:
    probabilities, labels, _ = noisy(seed, classes=3 + seed, sharp=1.0 + seed / 2)
    assert confident_joint(probabilities, labels).tolist() == by_the_paper(probabilities, labels).tolist()


# cleanlab 2.9.0, find_label_issues(labels, probabilities, filter_by=..., return_indices_ranked_by="self_confidence")
_CLEANLAB = {
    "noise_rate": [4, 48, 113, 22, 97, 86, 36, 68, 99, 2, 69, 44, 38, 56, 16, 92, 106, 90, 61, 74, 78, 46, 39, 63, 112,
                   34, 64, 59, 37, 89],
    "self_confidence": [4, 48, 113, 22, 97, 86, 36, 68, 99, 2, 69, 44, 38, 56, 16, 92, 106, 90, 61, 74, 28, 78, 46, 39,
                        63, 6, 100, 112, 19, 55, 34, 64, 37],
    "both": [4, 48, 113, 22, 97, 86, 36, 68, 99, 2, 69, 44, 38, 56, 16, 92, 106, 90, 61, 74, 78, 46, 39, 63, 112, 34,
             64, 37],
    "confident": [4, 48, 113, 97, 86, 36, 68, 99, 2, 69, 38, 56, 16, 92, 106, 90, 61, 74, 46, 39, 63, 112, 34, 64, 89],
}  # fmt: skip


@pytest.mark.parametrize("pruning", list(_CLEANLAB))
def test_the_suspects_are_those_of_cleanlab(pruning) -> None:
    probabilities, labels, _ = noisy(0)
    assert confident_joint(probabilities, labels).tolist() == [[20, 4, 3], [5, 21, 4], [6, 3, 26]]
    assert find_suspects(probabilities, labels, pruning=pruning).indices.tolist() == _CLEANLAB[pruning]


def test_the_order_by_margin_is_cleanlabs() -> None:
    probabilities, labels, _ = noisy(0)
    assert find_suspects(probabilities, labels, pruning="self_confidence", ranking="margin").indices.tolist() == [
        4, 48, 86, 113, 97, 2, 36, 69, 68, 106, 92, 38, 56, 99, 90, 22, 74, 16, 63, 46, 61, 44, 39, 34, 112, 78, 64, 55,
        28, 37, 100, 6, 19,
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- properties


def test_planted_flips_are_found_and_the_noise_is_estimated() -> None:
    probabilities, labels, true = noisy(3, count=3000, classes=4, noise=0.1, sharp=5)
    found = find_suspects(probabilities, labels)
    flipped = np.flatnonzero(labels != true)
    hits = np.isin(found.indices, flipped)
    assert hits.sum() / len(flipped) > 0.9 and hits.mean() > 0.8
    assert (found.suggested == true[found.indices])[hits].mean() > 0.95
    assert 1 - found.joint.trace() == pytest.approx(len(flipped) / 3000, abs=0.02)
    assert found.joint.sum() == pytest.approx(1)


def test_of_right_labels_nearly_none_is_found() -> None:
    probabilities, labels, _ = noisy(5, count=2000, noise=0.0, sharp=8)
    assert len(find_suspects(probabilities, labels)) <= 0.01 * 2000
    assert len(find_suspects(np.eye(3)[labels], labels)) == 0


def test_the_order_of_the_classes_and_of_the_samples_changes_nothing() -> None:
    probabilities, labels, _ = noisy(1, classes=4)
    found = find_suspects(probabilities, labels, pruning="noise_rate")
    order = np.array([2, 0, 3, 1])  # the new place of each class
    moved = np.empty_like(probabilities)
    moved[:, order] = probabilities
    again = find_suspects(moved, order[labels], pruning="noise_rate")
    assert again.indices.tolist() == found.indices.tolist()
    assert again.suggested.tolist() == order[found.suggested].tolist()
    shuffled = np.random.default_rng(0).permutation(len(labels))
    back = find_suspects(probabilities[shuffled], labels[shuffled], pruning="noise_rate")
    assert sorted(shuffled[back.indices]) == sorted(found.indices)


def test_a_class_that_nothing_is_labelled_and_a_class_that_is_never_confident() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    found = find_suspects(probabilities, np.array([0, 0, 1, 1]))
    assert len(found) == 0 and found.noise.tolist() == [0, 0, 0]
    assert np.isinf(class_thresholds(probabilities, np.array([0, 0, 1, 1]))[2])
    np.testing.assert_allclose(calibrated_joint(np.array([[0, 0], [0, 2]]), np.array([3, 3])), [[0.5, 0], [0, 0.5]])


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sum to 1 in each row; row 1 sums to 1\.5\. Give those of a softmax"):
        find_suspects(np.array([[0.5, 0.5], [0.5, 1.0]]), np.array([0, 1]))
    with pytest.raises(ConfigError, match="sums to nan"):
        find_suspects(np.array([[0.5, 0.5], [np.nan, 1.0]]), np.array([0, 1]))
    with pytest.raises(ConfigError, match="labels must be 0 to 1"):
        find_suspects(np.array([[0.5, 0.5]]), np.array([2]))
    with pytest.raises(ConfigError, match="pruning is 'most'; it must be one of noise_rate, self_confidence"):
        find_suspects(np.array([[0.5, 0.5]]), np.array([0]), pruning="most")  # type: ignore[arg-type]
