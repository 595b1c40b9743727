"""How good the answers are: scores with intervals, calibration, comparison. NumPy only; every function is pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point
NUM_BINS = 15  # Guo et al. 2017, Sec. 2


@dataclass(frozen=True)
class Interval:
    """A share and the interval that holds the true one with 95 % confidence; all in [0, 1]."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


@dataclass(frozen=True)
class ClassMetrics:
    """One class's scores; None where a figure is not defined (no prediction, or no picture, of the class)."""

    name: str
    support: int
    predicted: int
    precision: Interval | None
    recall: Interval | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """The pictures whose highest probability lies in (lower, upper]; confidence and accuracy are their means."""

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: Interval | None


@dataclass(frozen=True, eq=False)
class Metrics:
    """Scores of one network on one split.

    Args:
        split: its name.
        num_samples: pictures scored.
        top1: share whose most probable class is right.
        top5: share whose class is among the five most probable; None for five classes or fewer.
        balanced_accuracy: mean recall of the classes that have pictures.
        macro_f1: mean F1 of the classes for which it is defined.
        loss: mean negative log-likelihood, nats.
        brier: mean squared distance of the probabilities from the one-hot truth, in [0, 2].
        ece: expected calibration error, in [0, 1].
        per_class: in the order of the classes.
        confusion: int64 (K, K), rows true, columns predicted.
        bins: of the reliability diagram.
    """

    split: str
    num_samples: int
    top1: Interval
    top5: Interval | None
    balanced_accuracy: float
    macro_f1: float
    loss: float
    brier: float
    ece: float
    per_class: tuple[ClassMetrics, ...]
    confusion: npt.NDArray[np.int64]
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; intervals as {"value", "low", "high"}, undefined figures as null."""
        return {
            "split": self.split,
            "num_samples": self.num_samples,
            "top1": vars(self.top1),
            "top5": None if self.top5 is None else vars(self.top5),
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "brier": self.brier,
            "ece": self.ece,
            "per_class": [
                {
                    **vars(row),
                    "precision": None if row.precision is None else vars(row.precision),
                    "recall": None if row.recall is None else vars(row.recall),
                }
                for row in self.per_class
            ],
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        lines = [
            f"{self.split}: {self.num_samples} pictures",
            f"  top-1 accuracy     {self.top1}  (95 % interval)",
        ]
        if self.top5 is not None:
            lines.append(f"  top-5 accuracy     {self.top5}")
        lines += [
            f"  balanced accuracy  {self.balanced_accuracy:.1%}",
            f"  macro F1           {self.macro_f1:.3f}",
            f"  loss               {self.loss:.4f}",
            f"  calibration error  {self.ece:.3f}",
        ]
        return "\n".join(lines)


def score(probabilities: Floats, labels: Labels, *, classes: Sequence[str], split: str) -> Metrics:
    """Scores a network's probabilities.

    Args:
        probabilities: (N, K), rows summing to 1.
        labels: int64 (N,), true classes.
        classes: K names.
        split: a name for what was scored.

    Raises:
        DataError: there is nothing to score, or the shapes do not fit.
    """
    if len(labels) == 0:
        raise DataError(f"the split {split} has no pictures to score.")
    if probabilities.shape != (len(labels), len(classes)):
        raise DataError(
            f"probabilities have shape {probabilities.shape}; {len(labels)} labels and {len(classes)} classes need "
            f"{(len(labels), len(classes))}."
        )
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, num_classes=len(classes))
    per_class = class_metrics(confusion, classes)
    bins = reliability(probabilities.max(axis=1), predicted == labels)
    recalls = [row.recall.value for row in per_class if row.recall is not None]
    f1s = [row.f1 for row in per_class if row.f1 is not None]
    return Metrics(
        split=split,
        num_samples=len(labels),
        top1=wilson(int((predicted == labels).sum()), len(labels)),
        top5=wilson(num_in_top(probabilities, labels, 5), len(labels)) if len(classes) > 5 else None,
        balanced_accuracy=float(np.mean(recalls)),
        macro_f1=float(np.mean(f1s)),
        loss=negative_log_likelihood(probabilities, labels),
        brier=brier_score(probabilities, labels),
        ece=expected_calibration_error(bins),
        per_class=per_class,
        confusion=confusion,
        bins=bins,
    )


def wilson(successes: int, trials: int) -> Interval:
    """The share of successes with Wilson's 95 % interval, which stays inside [0, 1] and holds near its ends.

    Args:
        successes: how many.
        trials: of how many, at least 1.

    Reference:
        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22:209-212.

    Example:
        >>> print(wilson(9, 10))
        90.0% [59.6%, 98.2%]
    """
    share = successes / trials
    spread = Z95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    # at 0 and 1 the formula gives the share itself but for rounding
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def confusion_matrix(labels: Labels, predicted: Labels, *, num_classes: int) -> npt.NDArray[np.int64]:
    """How often each true class (row) was given each answer (column).

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    pairs = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes).astype(np.int64)


def class_metrics(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Precision, recall and F1 of every class, from the confusion matrix."""
    rows = []
    for index, name in enumerate(classes):
        right, support, predicted = (
            int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        rows.append(
            ClassMetrics(
                name=name,
                support=support,
                predicted=predicted,
                precision=wilson(right, predicted) if predicted else None,
                recall=wilson(right, support) if support else None,
                f1=2 * right / (support + predicted) if support + predicted else None,
            )
        )
    return tuple(rows)


def num_in_top(probabilities: Floats, labels: Labels, k: int) -> int:
    """How many pictures have their class among the k most probable; of equal ones the lower index comes first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return int((order == labels[:, None]).any(axis=1).sum())


def negative_log_likelihood(probabilities: Floats, labels: Labels) -> float:
    """The mean of -log(probability of the true class), nats; a probability of 0 counts as the smallest float32."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())


def brier_score(probabilities: Floats, labels: Labels) -> float:
    """The mean squared distance from the one-hot truth, in [0, 2] (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(confidence: Floats, is_right: npt.NDArray[np.bool_], *, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Bins of equal width over the stated probability, with what came true in each.

    Args:
        confidence: (N,), the highest probability of each picture.
        is_right: (N,), whether that class was the true one.
        num_bins: how many.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, Sec. 2.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    bins = []
    for index in range(num_bins):
        inside = which == index
        count = int(inside.sum())
        bins.append(
            Bin(
                lower=float(edges[index]),
                upper=float(edges[index + 1]),
                count=count,
                confidence=float(confidence[inside].mean()) if count else None,
                accuracy=wilson(int(is_right[inside].sum()), count) if count else None,
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance between stated probability and share of right answers, weighted by the bins' counts.

    Reference:
        Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, arXiv:1706.04599, Eq. 3.
    """
    total = sum(each.count for each in bins)
    gaps = [
        each.count * abs(each.confidence - each.accuracy.value)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    ]
    return sum(gaps) / total


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """The one number by which to divide the logits so that the probabilities are most likely.

    The negative log-likelihood is convex in 1 / temperature; its slope is bisected. No answer changes.

    Args:
        logits: (N, K).
        labels: int64 (N,).

    Returns:
        A temperature in [0.05, 20]; above 1 the network was too sure of itself.

    Reference:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, Sec. 4.2.
    """
    logits = logits.astype(np.float64)
    true = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        """d(mean negative log-likelihood) / d(1 / temperature)."""
        return float((softmax(logits * inverse) * logits).sum(axis=1).mean() - true.mean())

    low, high = 0.05, 20.0
    if slope(low) > 0:  # hotter than the range: the logits say nothing about the labels
        return 1 / low
    if slope(high) < 0:  # colder than the range: every answer right
        return 1 / high
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def softmax(logits: Floats) -> Floats:
    """exp(logits) over their sum, along the last axis.

    Example:
        >>> softmax(np.array([[0.0, 0.0]])).tolist()
        [[0.5, 0.5]]
    """
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def mcnemar(first_is_right: npt.NDArray[np.bool_], second_is_right: npt.NDArray[np.bool_]) -> float:
    """Whether two networks differ on the same pictures: the exact two-sided p-value.

    Args:
        first_is_right: (N,), of the first network.
        second_is_right: (N,), of the second, on the same pictures in the same order.

    Reference:
        McNemar 1947, Psychometrika 12:153-157; Dietterich 1998, Neural Computation 10:1895-1923.

    Example:
        >>> mcnemar(np.array([True] * 10), np.array([False] * 10))
        0.001953125
    """
    only_first = int((first_is_right & ~second_is_right).sum())
    only_second = int((second_is_right & ~first_is_right).sum())
    total = only_first + only_second
    tail = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1))
    return float(min(1.0, 2 * tail / 2**total))
