"""The scores of a small example worked out by hand, and what is said where a figure is not defined."""

import json
import math

import numpy as np
import pytest

from sightline.errors import ConfigError
from sightline.metrics import balanced_accuracy, class_metrics, macro_f1, measure, wilson

CLASSES = ("cat", "dog", "owl")
# Nine pictures; the answers are the largest logits: cat: cat cat dog; dog: dog cat dog owl; owl: owl owl.
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
ANSWERS = [0, 0, 1, 1, 0, 1, 2, 2, 2]
LOGITS = np.eye(3)[ANSWERS] * 2.0


def test_scores_of_a_small_example_worked_out_by_hand() -> None:
    metrics = measure(LOGITS, LABELS, CLASSES, split="test")
    assert metrics.num_samples == 9
    assert metrics.top1 == wilson(6, 9)
    assert metrics.top5 is None
    assert metrics.confusion.tolist() == [[2, 1, 0], [1, 2, 1], [0, 0, 2]]
    cat, dog, owl = metrics.per_class
    assert (cat.support, dog.support, owl.support) == (3, 4, 2)
    assert (cat.predicted, dog.predicted, owl.predicted) == (3, 3, 3)
    assert (cat.precision, cat.recall) == (wilson(2, 3), wilson(2, 3))
    assert (dog.precision, dog.recall) == (wilson(2, 3), wilson(2, 4))
    assert (owl.precision, owl.recall) == (wilson(2, 3), wilson(2, 2))
    f1 = [each.f1.value for each in metrics.per_class if each.f1]
    assert f1 == pytest.approx([2 / 3, 4 / 7, 4 / 5])  # 2 P R / (P + R)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 4 / 7 + 4 / 5) / 3)
    assert metrics.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    top = math.exp(2) / (math.exp(2) + 2)
    rest = (1 - top) / 2
    assert metrics.loss == pytest.approx(-(6 * math.log(top) + 3 * math.log(rest)) / 9)
    right, wrong = (1 - top) ** 2 + 2 * rest**2, top**2 + (1 - rest) ** 2 + rest**2
    assert metrics.brier == pytest.approx((6 * right + 3 * wrong) / 9, rel=1e-6)
    assert metrics.ece == pytest.approx(abs(6 / 9 - top), rel=1e-6)  # all nine are in one bin


def test_intervals_of_f1_hold_their_95_percent() -> None:
    random = np.random.default_rng(0)
    shares = np.array([[0.30, 0.10], [0.15, 0.45]])  # of all pictures: rows true, columns predicted
    truth = 2 * 0.30 / (2 * 0.30 + 0.10 + 0.15)
    draws = random.multinomial(200, shares.ravel(), size=3000).reshape(-1, 2, 2)
    found = [class_metrics(draw, ("a", "b"))[0].f1 for draw in draws]
    held = np.mean([each.low <= truth <= each.high for each in found if each])
    assert 0.94 < held < 0.965


def test_a_class_without_pictures_or_answers_has_no_figures_and_is_left_out_of_the_means() -> None:
    confusion = np.array([[4, 1, 0, 0], [0, 3, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    cat, dog, owl, yak = class_metrics(confusion, (*CLASSES, "yak"))
    assert owl.recall is None  # no owl there, yet two were called so
    assert owl.precision == wilson(0, 2)
    assert owl.f1 is not None
    assert owl.f1.value == 0
    assert (yak.precision, yak.recall, yak.f1) == (None, None, None)
    assert macro_f1((cat, dog, owl, yak)) == pytest.approx((8 / 9 + 2 / 3) / 2)
    assert balanced_accuracy((cat, dog, owl, yak)) == pytest.approx((4 / 5 + 3 / 5) / 2)


def test_a_class_that_is_never_answered_has_no_precision_and_an_f1_of_zero() -> None:
    cat, dog = class_metrics(np.array([[5, 0], [2, 0]]), ("cat", "dog"))
    assert dog.precision is None
    assert dog.recall == wilson(0, 2)
    assert dog.f1 is not None
    assert (dog.f1.value, dog.f1.low) == (0, 0)
    assert macro_f1((cat, dog)) == pytest.approx(10 / 12 / 2)


def test_means_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="none of 2 classes has a picture"):
        macro_f1(class_metrics(np.array([[0, 0], [0, 0]]), ("cat", "dog")))


def test_top5_counts_the_five_most_probable_and_is_only_for_more_than_five_classes() -> None:
    logits = np.tile(np.arange(7.0), (7, 1))  # class 6 first, then 5, ...
    metrics = measure(logits, np.arange(7), tuple("abcdefg"), split="test")
    assert metrics.top5 == wilson(5, 7)
    assert measure(logits[:5, :5], np.arange(5), tuple("abcde"), split="test").top5 is None


def test_temperature_changes_the_probabilities_and_not_the_answers() -> None:
    cold, hot = (measure(LOGITS, LABELS, CLASSES, split="test", temperature=value) for value in (1.0, 4.0))
    assert cold.top1 == hot.top1
    assert (cold.confusion == hot.confusion).all()
    assert (cold.temperature, hot.temperature) == (1.0, 4.0)
    assert len({cold.loss, hot.loss}) == len({cold.ece, hot.ece}) == 2


def test_json_has_null_where_a_figure_is_not_defined() -> None:
    metrics = measure(np.eye(3)[[0, 0]], np.array([0, 1]), CLASSES, split="val")
    told = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert told["top5"] is None
    assert told["per_class"][1]["precision"] is None
    assert told["per_class"][2] == {
        "name": "owl",
        "support": 0,
        "predicted": 0,
        "precision": None,
        "recall": None,
        "f1": None,
    }
    assert told["top1"] == wilson(1, 2).to_dict()
    assert told["confusion"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_table_lists_every_class_with_its_intervals() -> None:
    lines = str(measure(LOGITS, LABELS, CLASSES, split="test")).splitlines()
    assert lines[0] == "9 pictures (test)"
    assert lines[1] == "top-1 accuracy     66.7% [35.4%, 87.9%]"
    assert [line.split()[0] for line in lines[-3:]] == ["cat", "dog", "owl"]
    assert " ".join(lines[-1].split()) == "owl 2 66.7% [20.8%, 93.9%] 100.0% [34.2%, 100.0%] 80.0%"
    assert "-" in str(measure(np.eye(3)[[0, 0]], np.array([0, 1]), CLASSES, split="val")).splitlines()[-1]


def test_table_of_many_classes_lists_the_weakest() -> None:
    names = tuple(f"class{number:02d}" for number in range(40))
    answers = np.arange(40)
    answers[[7, 30]] = 8
    text = str(measure(np.eye(40)[answers] * 9, np.arange(40), names, split="test"))
    assert "the 10 weakest of 40 classes" in text
    listed = [line.split()[0] for line in text.splitlines()[-10:]]
    assert listed[:3] == ["class07", "class30", "class08"]
    assert "top-5 accuracy" in text


def test_names_must_be_as_many_as_classes() -> None:
    with pytest.raises(ConfigError, match="2 class names for logits of 3 classes: give one name a class"):
        measure(LOGITS, LABELS, ("cat", "dog"), split="test")
