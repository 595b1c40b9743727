"""The scores of a classifier, as a whole and class by class."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import ConfigError
from sightline.metrics.calibration import Bin, brier_score, expected_calibration_error, reliability_bins
from sightline.metrics.proportion import Interval, wilson
from sightline.metrics.ranking import (
    Floats,
    Integers,
    check,
    confusion_matrix,
    negative_log_likelihood,
    probabilities,
    top_k_correct,
)

_MOST_IN_TABLE = 30  # classes that `str(metrics)` lists; of more, the weakest


@dataclass(frozen=True)
class ClassMetrics:
    """The scores of one class; None (null in JSON, empty in CSV) where a figure is not defined.

    Args:
        name: of the class.
        support: its pictures.
        predicted: the pictures that were called so.
        precision: the share of those called so that are; None where no picture was called so.
        recall: the share of its pictures that were called so; None where it has no picture.
        f1: the harmonic mean of the two; None where both counts are 0. Its interval is that of TP / (TP + FP + FN), a
            share of counted pictures, carried over by F1 = 2 J / (1 + J).
    """

    name: str
    support: int
    predicted: int
    precision: Interval | None
    recall: Interval | None
    f1: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Metrics:
    """How good a classifier is on a set of pictures. `str()` is a short table.

    Args:
        split: which pictures.
        classes: names in index order.
        num_samples: pictures, at least 1.
        top1: the share of right answers.
        top5: the share with the true class among the five most probable; None with five classes or fewer.
        macro_f1: the mean F1 of the classes that have pictures.
        balanced_accuracy: the mean recall of the classes that have pictures.
        loss: negative log-likelihood in nats.
        brier: Brier score, 0 to 2.
        ece: expected calibration error, 0 to 1.
        temperature: that the logits were divided by.
        confusion: int64 (K, K), rows true, columns predicted.
        per_class: the scores of each class.
        bins: of the reliability diagram.
    """

    split: str
    classes: tuple[str, ...]
    num_samples: int
    top1: Interval
    top5: Interval | None
    macro_f1: float
    balanced_accuracy: float
    loss: float
    brier: float
    ece: float
    temperature: float
    confusion: npt.NDArray[np.int64]
    per_class: tuple[ClassMetrics, ...]
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; the reliability bins have a file of their own."""
        return {
            "split": self.split,
            "num_samples": self.num_samples,
            "top1": self.top1.to_dict(),
            "top5": None if self.top5 is None else self.top5.to_dict(),
            "macro_f1": self.macro_f1,
            "balanced_accuracy": self.balanced_accuracy,
            "loss": self.loss,
            "brier": self.brier,
            "ece": self.ece,
            "temperature": self.temperature,
            "classes": list(self.classes),
            "per_class": [each.to_dict() for each in self.per_class],
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        lines = [f"{self.num_samples:,} pictures ({self.split})", f"top-1 accuracy     {self.top1}"]
        if self.top5 is not None:
            lines.append(f"top-5 accuracy     {self.top5}")
        lines += [
            f"balanced accuracy  {self.balanced_accuracy:.1%}",
            f"macro F1           {self.macro_f1:.1%}",
            f"loss               {self.loss:.4f}",
            f"calibration error  {self.ece:.1%}",
            "",
            *_table(self.per_class),
        ]
        return "\n".join(lines)


def measure(
    logits: Floats, labels: Integers, classes: Sequence[str], *, split: str, temperature: float = 1.0
) -> Metrics:
    """Scores a network's answers.

    Args:
        logits: (N, K), N at least 1.
        labels: (N,), the true classes.
        classes: K names in index order.
        split: which pictures these are, for the record.
        temperature: divides the logits; the answers do not depend on it.

    Raises:
        ConfigError: the shapes or the number of names do not fit.

    Example:
        >>> metrics = measure(np.eye(3) * 5, np.array([0, 1, 1]), ("ant", "bee", "cat"), split="test")
        >>> print(metrics.top1, metrics.top5)
        66.7% [20.8%, 93.9%] None
    """
    check(logits, labels)
    num_classes = logits.shape[1]
    if len(classes) != num_classes:
        raise ConfigError(f"{len(classes)} class names for logits of {num_classes} classes: give one name a class.")
    stated = probabilities(logits, temperature)
    bins = reliability_bins(stated, labels)
    confusion = confusion_matrix(labels, stated.argmax(axis=1), num_classes)
    per_class = class_metrics(confusion, classes)
    return Metrics(
        split=split,
        classes=tuple(classes),
        num_samples=len(labels),
        top1=wilson(int(np.trace(confusion)), len(labels)),
        top5=wilson(int(top_k_correct(stated, labels, 5).sum()), len(labels)) if num_classes > 5 else None,
        macro_f1=macro_f1(per_class),
        balanced_accuracy=balanced_accuracy(per_class),
        loss=negative_log_likelihood(logits, labels, temperature),
        brier=brier_score(stated, labels),
        ece=expected_calibration_error(bins),
        temperature=temperature,
        confusion=confusion,
        per_class=per_class,
        bins=bins,
    )


def class_metrics(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Precision, recall and F1 of every class.

    Args:
        confusion: (K, K), rows true, columns predicted.
        classes: K names.

    Example:
        >>> ant, bee = class_metrics(np.array([[3, 1], [0, 0]]), ("ant", "bee"))
        >>> print(ant.precision, ant.f1, bee.recall)  # there is no bee, and one ant was called so
        100.0% [43.9%, 100.0%] 85.7% [46.2%, 97.7%] None
    """
    return tuple(
        counted(
            name,
            hits=int(confusion[index, index]),
            support=int(confusion[index].sum()),
            predicted=int(confusion[:, index].sum()),
        )
        for index, name in enumerate(classes)
    )


def counted(name: str, *, hits: int, support: int, predicted: int) -> ClassMetrics:
    """The scores of one class from its counts.

    Args:
        name: of the class.
        hits: its pictures that were called so.
        support: its pictures.
        predicted: the pictures that were called so.
    """
    return ClassMetrics(
        name=name,
        support=support,
        predicted=predicted,
        precision=_share(hits, predicted),
        recall=_share(hits, support),
        f1=_f1(_share(hits, support + predicted - hits)),
    )


def macro_f1(per_class: Sequence[ClassMetrics]) -> float:
    """The mean F1 of the classes that have pictures: a class counts the same however few it has.

    A class without a picture is left out, even when some were called so (scikit-learn's `f1_score` counts it as 0): the
    pictures say nothing about how well it is recognised, and the wrong calls already cost the recall of the others.

    Args:
        per_class: of `class_metrics`.

    Raises:
        ConfigError: no class has a picture.
    """
    return math.fsum(each.f1.value for each in per_class if each.support and each.f1) / _num_present(per_class)


def balanced_accuracy(per_class: Sequence[ClassMetrics]) -> float:
    """The mean recall of the classes that have pictures: what accuracy would be if all had equally many.

    Args:
        per_class: of `class_metrics`.

    Raises:
        ConfigError: no class has a picture.

    Reference:
        Brodersen, Ong, Stephan, Buhmann 2010, "The balanced accuracy and its posterior distribution", ICPR.
    """
    return math.fsum(each.recall.value for each in per_class if each.recall) / _num_present(per_class)


def _num_present(per_class: Sequence[ClassMetrics]) -> int:
    present = sum(each.support > 0 for each in per_class)
    if not present:
        raise ConfigError(f"none of {len(per_class)} classes has a picture: there is nothing to take a mean over.")
    return present


def _share(hits: int, count: int) -> Interval | None:
    return wilson(hits, count) if count else None


def _f1(jaccard: Interval | None) -> Interval | None:
    if jaccard is None:
        return None
    value, low, high = (2 * share / (1 + share) for share in (jaccard.value, jaccard.low, jaccard.high))
    return Interval(value, low, high)


def _table(per_class: Sequence[ClassMetrics]) -> list[str]:
    shown, title = list(per_class), "class"
    if len(shown) > _MOST_IN_TABLE:
        shown.sort(key=lambda each: each.f1.value if each.f1 else math.inf)
        shown, title = shown[:10], f"the 10 weakest of {len(per_class):,} classes"
    width = max(len(title), *(len(each.name) for each in shown))
    lines = [f"{title:{width}}  {'pictures':>8}  {'precision':>23}  {'recall':>23}  {'F1':>6}"]
    for each in shown:
        f1 = "-" if each.f1 is None else f"{each.f1.value:.1%}"
        precision, recall = ("-" if share is None else str(share) for share in (each.precision, each.recall))
        lines.append(f"{each.name:{width}}  {each.support:>8,}  {precision:>23}  {recall:>23}  {f1:>6}")
    return lines
