"""The scores of a bundle, as the report shows them: from metrics.json, calibration.json and predictions.csv."""

import csv
import heapq
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.catalog import Problem
from sightline.metrics import Bin, ClassMetrics, Interval

_ROUNDING = 1e-9
SPLIT_NAMES = {"train": "training", "val": "validation"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluated:
    """What the figures of `metrics.json` are of.

    Args:
        split: what was scored.
        num_samples: how many pictures.
        classes: of the bundle, in index order.
        test_looks: how often the test split was scored; 0 where it was not.
        refused: files that the evaluation left out.
        notes: what was scored, why that, and what to beware of; sentences.
    """

    split: str
    num_samples: int
    classes: tuple[str, ...]
    test_looks: int
    refused: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def split_words(self) -> str:
        """The scored pictures, in words."""
        return words_of_split(self.split)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores(Evaluated):
    """The figures of `metrics.json`.

    Args:
        accuracy: the share of right answers.
        top5: the share of pictures whose class is among the five most probable; None for few classes.
        macro_f1: mean F1 of the classes.
        loss: mean negative log-likelihood, nats.
        confusion: counts (K, K), rows true, columns predicted.
        per_class: the weakest first, by F1.
    """

    accuracy: Interval
    top5: Interval | None
    macro_f1: float
    loss: float
    confusion: NDArray[np.int64]
    per_class: tuple[ClassMetrics, ...]

    @property
    def largest_class(self) -> str:
        """The class with the most scored pictures."""
        return self.classes[int(self.confusion.sum(axis=1).argmax())]

    @property
    def largest_class_share(self) -> float:
        """What always answering the largest class would score."""
        return float(self.confusion.sum(axis=1).max() / self.num_samples)


@dataclass(frozen=True)
class Calibration:
    """The figures of `calibration.json`; the bins are those that hold pictures."""

    ece: float
    temperature: float
    bins: tuple[Bin, ...]

    @property
    def num_samples(self) -> int:
        """How many pictures the bins hold."""
        return sum(each.count for each in self.bins)

    @property
    def stated(self) -> float:
        """The probability stated, on average."""
        return sum(each.confidence * each.count for each in self.bins) / self.num_samples

    @property
    def right(self) -> float:
        """The share of right answers."""
        return sum(each.accuracy.value * each.count for each in self.bins) / self.num_samples


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: a row of `predictions.csv`."""

    source: str
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Mistakes:
    """The wrong answers: how many there are, and the surest of them, surest first."""

    count: int
    worst: tuple[Mistake, ...]


@dataclass(frozen=True)
class Pair:
    """One class taken for another.

    Args:
        true: the class that it was.
        predicted: the class that was answered.
        count: pictures.
        of_class: their share of the true class.
        of_errors: their share of all errors.
        reverse: pictures confused the other way round.
    """

    true: str
    predicted: str
    count: int
    of_class: float
    of_errors: float
    reverse: int


def read_scores(content: Mapping[str, Any], classes: tuple[str, ...]) -> Scores:
    """Takes the scores from the content of `metrics.json`.

    Args:
        content: the parsed file.
        classes: of the bundle.

    Raises:
        ValueError: the file is of another set of classes, or does not add up.
        KeyError, TypeError: the file is damaged.
    """
    evaluated = read_evaluated(content, classes)
    confusion = np.array(content["confusion"], dtype=np.int64)
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"its confusion matrix has shape {confusion.shape} for {len(classes)} classes")
    if confusion.min() < 0 or not 0 < int(confusion.sum()) == int(content["num_samples"]):
        raise ValueError(f"its confusion matrix holds {confusion.sum():,} pictures, not {content['num_samples']}")
    per_class = [class_metrics_of(row) for row in content["per_class"]]
    return Scores(
        **vars(evaluated),
        accuracy=required_interval(content["top1"]),
        top5=interval_of(content["top5"]),
        macro_f1=float(content["macro_f1"]),
        loss=float(content["loss"]),
        confusion=confusion,
        per_class=tuple(sorted(per_class, key=lambda row: (2.0 if row.f1 is None else row.f1.value, row.name))),
    )


def read_evaluated(content: Mapping[str, Any], classes: tuple[str, ...]) -> Evaluated:
    """Takes what was scored from the content of `metrics.json`.

    Args:
        content: the parsed file.
        classes: of the bundle.

    Raises:
        ValueError: the file is of another set of classes.
        KeyError, TypeError: the file is damaged.
    """
    if tuple(str(row["name"]) for row in content["per_class"]) != classes:
        raise ValueError("its classes are not the bundle's")
    return Evaluated(
        split=str(content["split"]),
        num_samples=int(content["num_samples"]),
        classes=classes,
        test_looks=int(content.get("test_looks", 0)),
        refused=tuple(Problem(str(row["path"]), str(row["reason"])) for row in content.get("skipped", ())),
        notes=tuple(str(note) for note in content.get("notes", ())),
    )


def read_calibration(content: Mapping[str, Any]) -> Calibration:
    """Takes the reliability diagram from the content of `calibration.json`.

    Args:
        content: the parsed file.

    Raises:
        ValueError: no bin holds a picture.
        KeyError, TypeError: the file is damaged.
    """
    bins = [
        Bin(
            lower=float(row["lower"]),
            upper=float(row["upper"]),
            count=int(row["count"]),
            confidence=float(row["confidence"]),
            accuracy=required_interval(row["accuracy"]),
        )
        for row in content["bins"]
        if row["count"] > 0
    ]
    if not bins:
        raise ValueError("no bin holds a picture")
    return Calibration(ece=float(content["ece"]), temperature=float(content["temperature"]), bins=tuple(bins))


def read_mistakes(text: str, *, most: int) -> Mistakes:
    """Takes the wrong answers from the text of `predictions.csv`.

    Args:
        text: the file's content.
        most: how many to keep.

    Raises:
        ValueError, KeyError: the file is damaged.
    """
    wrong = [
        Mistake(row["source"], row["true"], row["predicted"], float(row["probability"]))
        for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if row["true"] != row["predicted"]
    ]
    return Mistakes(len(wrong), tuple(heapq.nlargest(most, wrong, key=lambda mistake: mistake.probability)))


def confused_pairs(scores: Scores, *, most: int) -> tuple[Pair, ...]:
    """The ordered pairs of classes with the most errors, most first.

    Args:
        scores: of the evaluation.
        most: how many to give.
    """
    wrong = scores.confusion * (1 - np.eye(len(scores.classes), dtype=np.int64))
    num_errors = int(wrong.sum())
    largest = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = []
    for true, predicted in zip(*np.unravel_index(largest, wrong.shape), strict=True):
        if count := int(wrong[true, predicted]):
            support = int(scores.confusion[true].sum())
            reverse = int(wrong[predicted, true])
            pairs.append(
                Pair(
                    scores.classes[true], scores.classes[predicted], count, count / support, count / num_errors, reverse
                )
            )
    return tuple(pairs)


def words_of_split(split: str) -> str:
    """The scored pictures, in words.

    Example:
        >>> words_of_split("val")
        'validation pictures'
    """
    return "pictures" if split == "all" else f"{SPLIT_NAMES.get(split, split)} pictures"


def class_metrics_of(row: Mapping[str, Any]) -> ClassMetrics:
    """The scores of one class from its row in `metrics.json`.

    Args:
        row: as `ClassMetrics.to_dict` wrote it.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    return ClassMetrics(
        name=str(row["name"]),
        support=int(row["support"]),
        predicted=int(row["predicted"]),
        precision=interval_of(row["precision"]),
        recall=interval_of(row["recall"]),
        f1=interval_of(row["f1"]),
    )


def interval_of(value: Mapping[str, Any] | None) -> Interval | None:
    """A share with its interval; None where the figure is not defined.

    Args:
        value: as `Interval.to_dict` wrote it.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    return None if value is None else required_interval(value)


def required_interval(value: Mapping[str, Any]) -> Interval:
    """As `interval_of`, of a figure that is always defined.

    Args:
        value: as `Interval.to_dict` wrote it.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    share, low, high = (float(value[name]) for name in ("value", "low", "high"))
    if not -_ROUNDING <= low <= share + _ROUNDING <= high + 2 * _ROUNDING <= 1 + 3 * _ROUNDING:
        raise ValueError(f"{share} ({low} to {high}) is no share with its interval")
    return Interval(share, low, high)
