"""The scores of a network whose pictures may have several labels, or none."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import ConfigError
from sightline.metrics import average_precision as precision_of
from sightline.metrics.bootstrap import num_resamples, percentile_interval, resamples
from sightline.metrics.calibration import Bin, binned, expected_calibration_error
from sightline.metrics.classification import ClassMetrics, counted
from sightline.metrics.proportion import Interval, wilson
from sightline.metrics.ranking import Floats
from sightline.metrics.thresholds import Labels, binary_loss, check_questions, sigmoid

_MOST_IN_TABLE = 30  # labels that `str(metrics)` lists; of more, the weakest

Truth = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelMetrics(ClassMetrics):
    """The scores of one label; None where a figure is not defined.

    Args:
        average_precision: how well its probabilities put the pictures that have it first, whatever the threshold; None
            where no picture has it. Its interval is the bootstrap's.
        threshold: the probability from which on the answer is yes: what precision, recall and F1 are of.
        ece: expected calibration error of its probabilities, 0 to 1.
    """

    average_precision: Interval | None
    threshold: float
    ece: float


@dataclass(frozen=True, eq=False)
class MultilabelMetrics:
    """How good a network is on pictures with several labels each. `str()` is a short table.

    Args:
        split: which pictures.
        classes: names in index order.
        num_samples: pictures, at least 1.
        mean_average_precision: mAP, the mean over the labels that a picture has; None where no picture has any.
        macro_f1: the mean F1 of these labels, at their thresholds; likewise.
        micro_f1: F1 of all questions together; None where nothing is there and nothing was said.
        exact: the share of pictures with every label right, and none too many.
        hamming_loss: the share of all questions that are answered wrongly.
        loss: mean over pictures and labels of the negative log-likelihood, in nats.
        ece: expected calibration error of all questions together.
        temperature: that the logits were divided by.
        per_class: the scores of each label.
        bins: of the reliability diagram of all questions together: the stated probability of yes against the share of
            yes. Those of a picture hang together, so that the bins' intervals are a little too narrow.
        num_resamples: of the bootstrap over pictures, behind all intervals but Wilson's of `exact` and of the labels'
            precision, recall and F1.
    """

    split: str
    classes: tuple[str, ...]
    num_samples: int
    mean_average_precision: Interval | None
    macro_f1: Interval | None
    micro_f1: Interval | None
    exact: Interval
    hamming_loss: Interval
    loss: float
    ece: float
    temperature: float
    per_class: tuple[LabelMetrics, ...]
    bins: tuple[Bin, ...]
    num_resamples: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them; the reliability bins have a file of their own."""
        content = {name: value for name, value in vars(self).items() if name not in ("per_class", "bins")}
        shares = ("mean_average_precision", "macro_f1", "micro_f1", "exact", "hamming_loss")
        content |= {name: None if content[name] is None else content[name].to_dict() for name in shares}
        content["classes"] = list(self.classes)
        return {"kind": "multilabel", **content, "per_class": [asdict(each) for each in self.per_class]}

    def __str__(self) -> str:
        lines = [
            f"{self.num_samples:,} pictures ({self.split}), {len(self.classes)} labels",
            f"mAP                {_or_dash(self.mean_average_precision)}",
            f"macro F1           {_or_dash(self.macro_f1)}",
            f"micro F1           {_or_dash(self.micro_f1)}",
            f"exactly right      {self.exact}",
            f"Hamming loss       {self.hamming_loss}",
            f"loss               {self.loss:.4f}",
            f"calibration error  {self.ece:.1%}",
            "",
            *_table(self.per_class),
        ]
        return "\n".join(lines)


def measure_multilabel(
    logits: Floats,
    labels: Labels,
    classes: Sequence[str],
    *,
    split: str,
    thresholds: Sequence[float],
    temperature: float = 1.0,
) -> MultilabelMetrics:
    """Scores a network's answers to independent questions.

    A label that no picture has counts in no mean: the pictures say nothing about it.

    Args:
        logits: (N, K), N at least 1.
        labels: (N, K), 1 where a picture has the label.
        classes: K names in index order.
        split: which pictures these are, for the record.
        thresholds: K probabilities from which on the answer is yes.
        temperature: divides the logits.

    Raises:
        ConfigError: the shapes or the numbers of names or thresholds do not fit.

    Example:
        >>> logits, labels = np.array([[2.0, -1.0], [1.0, 3.0], [-3.0, 1.0]]), np.array([[1, 0], [1, 1], [0, 0]])
        >>> metrics = measure_multilabel(logits, labels, ("ant", "bee"), split="test", thresholds=(0.5, 0.5))
        >>> print(metrics.mean_average_precision.value, metrics.exact.value, round(metrics.micro_f1.value, 3))
        1.0 0.6666666666666666 0.857
    """
    check_questions(logits, labels)
    if not len(classes) == len(thresholds) == logits.shape[1]:
        raise ConfigError(
            f"{len(classes)} class names and {len(thresholds)} thresholds for logits of {logits.shape[1]} classes: "
            "give one of each a class."
        )
    stated, truth = sigmoid(logits, temperature), np.asarray(labels) == 1
    said = stated >= np.asarray(thresholds)
    bins = binned(stated.ravel(), truth.ravel())
    drawn = _Resampled(stated, truth, said)
    per_class = [
        LabelMetrics(
            **vars(counted(name, hits=hits, support=support, predicted=predicted)),
            average_precision=drawn.average_precision(number),
            threshold=float(thresholds[number]),
            ece=expected_calibration_error(binned(stated[:, number], truth[:, number])),
        )
        for number, (name, hits, support, predicted) in enumerate(
            zip(
                classes,
                (said & truth).sum(axis=0).tolist(),
                truth.sum(axis=0).tolist(),
                said.sum(axis=0).tolist(),
                strict=True,
            )
        )
    ]
    return MultilabelMetrics(
        split=split,
        classes=tuple(classes),
        num_samples=len(truth),
        mean_average_precision=drawn.of(drawn.mean_precision),
        macro_f1=drawn.of(drawn.macro_f1),
        micro_f1=drawn.of(drawn.micro_f1),
        exact=wilson(int((said == truth).all(axis=1).sum()), len(truth)),
        hamming_loss=_required(drawn.of(drawn.hamming)),
        loss=binary_loss(logits, labels, temperature),
        ece=expected_calibration_error(bins),
        temperature=temperature,
        per_class=tuple(per_class),
        bins=bins,
        num_resamples=drawn.count,
    )


class _Resampled:
    """The scores that are no plain shares, of all pictures (the first row of each array) and of every resample.

    Args:
        stated: probabilities (N, K).
        truth: bool (N, K).
        said: bool (N, K).
    """

    def __init__(self, stated: Floats, truth: Truth, said: Truth) -> None:
        num_pictures, num_classes = truth.shape
        self.count = num_resamples(num_pictures, num_classes)
        hits, support, claimed = [], [], []
        areas: list[Values] = []
        both, had, claims = (each.astype(np.float64) for each in (said & truth, truth, said))
        for weights in chain([np.ones((1, num_pictures))], resamples(num_pictures, self.count)):
            hits.append(weights @ both)
            support.append(weights @ had)
            claimed.append(weights @ claims)
            each = [precision_of.weighted(stated[:, k], truth[:, k], weights) for k in range(num_classes)]
            areas.append(np.stack(each, axis=1))
        has_some = np.concatenate(support) > 0
        found, asked = np.concatenate(hits), np.concatenate(support) + np.concatenate(claimed)
        self._areas = np.concatenate(areas)  # (1 + B, K)
        self.mean_precision = _mean_where(self._areas, has_some)
        self.macro_f1 = _mean_where(_ratio(2 * found, asked), has_some)
        self.micro_f1 = _ratio(2 * found.sum(axis=1), asked.sum(axis=1))
        self.hamming = (asked - 2 * found).sum(axis=1) / (num_pictures * num_classes)

    def of(self, values: Values) -> Interval | None:
        """A score with its interval; None where it is not defined."""
        return None if np.isnan(values[0]) else percentile_interval(float(values[0]), values[1:])

    def average_precision(self, number: int) -> Interval | None:
        """That of one label."""
        return self.of(self._areas[:, number])


def _ratio(above: Values, below: Values) -> Values:
    ratio: Values = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return ratio


def _mean_where(values: Values, is_counted: Truth) -> Values:
    """The mean of some columns in each row; NaN where there are none."""
    return _ratio(np.where(is_counted, values, 0.0).sum(axis=1), is_counted.sum(axis=1).astype(np.float64))


def _required(share: Interval | None) -> Interval:
    if share is None:
        raise ConfigError("the Hamming loss of no picture is not defined.")
    return share


def _or_dash(share: Interval | None) -> str:
    return "-" if share is None else str(share)


def _table(per_class: Sequence[LabelMetrics]) -> list[str]:
    shown, title = list(per_class), "label"
    if len(shown) > _MOST_IN_TABLE:
        shown.sort(key=lambda each: each.average_precision.value if each.average_precision else math.inf)
        shown, title = shown[:10], f"the 10 weakest of {len(per_class):,} labels"
    width = max(len(title), *(len(each.name) for each in shown))
    lines = [
        f"{title:{width}}  {'pictures':>8}  {'AP':>6}  {'threshold':>9}  {'precision':>23}  {'recall':>23}  {'F1':>6}"
    ]
    for each in shown:
        area, f1 = ("-" if share is None else f"{share.value:.1%}" for share in (each.average_precision, each.f1))
        precision, recall = (_or_dash(share) for share in (each.precision, each.recall))
        lines.append(
            f"{each.name:{width}}  {each.support:>8,}  {area:>6}  {each.threshold:>9.3f}  {precision:>23}  "
            f"{recall:>23}  {f1:>6}"
        )
    return lines
