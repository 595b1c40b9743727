"""Scores of several labels a picture, against their definitions counted out one by one."""

import numpy as np
import pytest

from sightline.errors import ConfigError
from sightline.metrics import choose_thresholds, fit_binary_temperature, measure_multilabel, sigmoid, wilson
from sightline.metrics.average_precision import average_precision, weighted
from sightline.metrics.bootstrap import resamples
from sightline.metrics.thresholds import LEAST_PICTURES, binary_loss

RANDOM = np.random.default_rng(7)
CLASSES = ("ant", "bee", "cat")


def answers(count: int = 60, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know something of the labels."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, 3)) < (0.5, 0.3, 0.4)).astype(np.uint8)
    return (2.5 * labels - 1 + 1.5 * random.standard_normal((count, 3))).astype(np.float32), labels


def area_by_definition(scores: np.ndarray, truth: np.ndarray) -> float:
    """Σ (R_n - R_(n-1)) P_n, each distinct score once as a threshold."""
    area = recall_before = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        said = scores >= threshold
        recall = (said & (truth > 0)).sum() / truth.sum()
        area += (recall - recall_before) * (said & (truth > 0)).sum() / said.sum()
        recall_before = recall
    return area


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_average_precision_is_its_definition_with_ties_and_without(digits: int) -> None:
    scores = RANDOM.random(50).round(digits)
    truth = (RANDOM.random(50) < 0.3).astype(np.uint8)
    assert average_precision(scores, truth) == pytest.approx(area_by_definition(scores, truth), rel=1e-12)


def test_average_precision_of_the_example_of_scikit_learn() -> None:
    """Its user guide: average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.83..."""
    assert average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == pytest.approx(5 / 6)


def test_a_label_without_a_picture_has_no_average_precision() -> None:
    assert average_precision(np.array([0.2, 0.9]), np.array([0, 0])) is None
    with pytest.raises(ConfigError, match=r"scores \(N,\) and truth \(N,\) of a picture or more"):
        average_precision(np.zeros(2), np.zeros(3, np.uint8))


def test_a_weight_of_two_is_a_picture_twice() -> None:
    scores, truth = RANDOM.random(20).round(1), RANDOM.integers(0, 2, 20)
    (times,) = next(resamples(20, 1))
    places = np.repeat(np.arange(20), times.astype(int))
    assert times.sum() == 20
    repeated = average_precision(scores[places], truth[places])
    assert weighted(scores, truth, times[None])[0] == pytest.approx(repeated, rel=1e-12)


def test_sigmoid_is_finite_and_symmetric_at_any_logit() -> None:
    logits = np.array([[-1e4, -800.0, -1.0, 0.0, 1.0, 800.0, 1e4]])
    stated = sigmoid(logits)
    np.testing.assert_allclose(stated, 1 - stated[:, ::-1], atol=1e-7)
    assert stated[0, 4] == pytest.approx(1 / (1 + np.exp(-1)))
    np.testing.assert_array_equal(sigmoid(logits, 2.0), sigmoid(logits / 2))


def test_the_temperature_has_the_least_loss() -> None:
    logits, labels = answers(200)
    fitted = fit_binary_temperature(3 * logits, labels)
    around = [binary_loss(3 * logits, labels, fitted * factor) for factor in (0.98, 1.0, 1.02)]
    assert around[1] < min(around[0], around[2])
    stated = sigmoid(3 * logits, fitted).astype(np.float64)
    by_hand = -np.where(labels == 1, np.log(stated), np.log(1 - stated)).mean()
    assert around[1] == pytest.approx(by_hand, rel=1e-5)


def test_each_threshold_has_the_highest_f1_of_all_cuts() -> None:
    logits, labels = answers(120)
    stated = sigmoid(logits)
    chosen = choose_thresholds(stated, labels, CLASSES)

    def f1(threshold: float, label: int) -> float:
        said, there = stated[:, label] >= threshold, labels[:, label] == 1
        return 2 * (said & there).sum() / (said.sum() + there.sum())

    for label, threshold in enumerate(chosen.values):
        assert f1(threshold, label) == max(f1(cut, label) for cut in [0.0, *stated[:, label].tolist()])
        assert np.abs(stated[:, label] - threshold).min() > 4e-6  # no decision hangs on rounding
    assert not chosen.notes


def test_a_label_with_few_validation_pictures_keeps_one_half_and_is_named() -> None:
    logits, labels = answers(120)
    labels[:, 1] = 0
    labels[: LEAST_PICTURES - 1, 1] = 1
    chosen = choose_thresholds(sigmoid(logits), labels, CLASSES)
    assert chosen.values[1] == 0.5 != chosen.values[0]
    (note,) = chosen.notes
    assert "fewer than 10 validation pictures" in note
    assert note.endswith("bee (9 with it, 111 without).")


def test_a_network_that_says_the_same_of_every_picture_has_no_threshold_to_choose() -> None:
    labels = np.arange(40)[:, None] % 2
    chosen = choose_thresholds(np.full((40, 1), 1e-7), labels, ("ant",))
    assert chosen.values == (0.5,)
    assert "all probabilities are alike: ant" in chosen.notes[0]


def test_scores_are_counted_over_pictures_and_questions() -> None:
    logits, labels = answers()
    thresholds = (0.5, 0.3, 0.7)
    metrics = measure_multilabel(logits, labels, CLASSES, split="test", thresholds=thresholds, temperature=1.3)
    stated = 1 / (1 + np.exp(-logits.astype(np.float64) / 1.3))
    said, there = stated >= thresholds, labels == 1
    hits, claimed, present = (said & there).sum(0), said.sum(0), there.sum(0)
    areas = [area_by_definition(stated[:, label], labels[:, label]) for label in range(3)]
    assert metrics.mean_average_precision is not None and metrics.micro_f1 is not None and metrics.macro_f1 is not None
    assert metrics.mean_average_precision.value == pytest.approx(np.mean(areas))
    assert metrics.micro_f1.value == pytest.approx(2 * hits.sum() / (claimed.sum() + present.sum()))
    assert metrics.macro_f1.value == pytest.approx((2 * hits / (claimed + present)).mean())
    assert metrics.exact == wilson(int((said == there).all(1).sum()), 60)
    assert metrics.hamming_loss.value == pytest.approx((said != there).mean())
    for row, hit, claim, support in zip(metrics.per_class, hits, claimed, present, strict=True):
        assert (row.support, row.predicted) == (support, claim)
        assert row.precision == wilson(int(hit), int(claim))
        assert row.recall == wilson(int(hit), int(support))
    for share in (metrics.mean_average_precision, metrics.micro_f1, metrics.macro_f1, metrics.hamming_loss):
        assert share.low < share.value < share.high
        assert share.high - share.low < 0.3
    again = measure_multilabel(logits, labels, CLASSES, split="test", thresholds=thresholds, temperature=1.3)
    assert again.to_dict() == metrics.to_dict()


def test_calibration_counts_every_question() -> None:
    logits = np.log(np.array([[0.8, 0.1], [0.8, 0.1]]) / np.array([[0.2, 0.9], [0.2, 0.9]]))
    metrics = measure_multilabel(logits, np.array([[1, 0], [0, 0]]), ("a", "b"), split="val", thresholds=(0.5, 0.5))
    assert metrics.ece == pytest.approx(2 / 4 * abs(0.8 - 0.5) + 2 / 4 * 0.1, abs=1e-6)
    assert metrics.per_class[0].ece == pytest.approx(0.3, abs=1e-6)
    assert sum(each.count for each in metrics.bins) == 4


def test_a_label_without_a_picture_counts_in_no_mean() -> None:
    logits, labels = answers()
    labels[:, 2] = 0
    whole = measure_multilabel(logits, labels, CLASSES, split="test", thresholds=(0.5,) * 3)
    part = measure_multilabel(logits[:, :2], labels[:, :2], CLASSES[:2], split="test", thresholds=(0.5,) * 2)
    assert whole.per_class[2].average_precision is None and whole.per_class[2].recall is None
    assert whole.macro_f1 is not None and part.macro_f1 is not None
    assert whole.macro_f1.value == part.macro_f1.value
    assert "cat           0       -      0.500" in str(whole)
    nothing = measure_multilabel(
        -np.ones((3, 2)), np.zeros((3, 2), np.uint8), ("a", "b"), split="test", thresholds=(0.5, 0.5)
    )
    assert (nothing.mean_average_precision, nothing.macro_f1, nothing.micro_f1) == (None, None, None)
    assert nothing.exact.value == 1


@pytest.mark.parametrize(
    ("labels", "said"),
    [(np.zeros((2, 2), np.uint8), "scores .N, K. and labels .N, K."), (np.full((2, 3), 2), "labels must be 0 or 1")],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        measure_multilabel(np.zeros((2, 3)), labels, CLASSES, split="test", thresholds=(0.5,) * 3)
    with pytest.raises(ConfigError, match="2 class names and 3 thresholds"):
        measure_multilabel(np.zeros((2, 3)), np.zeros((2, 3)), CLASSES[:2], split="test", thresholds=(0.5,) * 3)
