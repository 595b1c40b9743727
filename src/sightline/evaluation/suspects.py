"""Labels that are probably wrong, by confident learning: pure functions on probabilities that no training has spoiled.

A network is sure of some classes and less sure of others. So a picture counts as confidently of a class where its
probability reaches what that class's own pictures have on average. Counted by given and by confident class, that says
how often which class is taken for which; and with how many, it says which pictures are the least likely to be right.

Reference:
    Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", arXiv:1911.00068.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sightline import metrics
from sightline.errors import ConfigError
from sightline.metrics.ranking import Floats, Integers, check

Pruning = Literal["noise_rate", "self_confidence", "both", "confident"]
Ranking = Literal["self_confidence", "margin"]

_ROUNDING = 1e-6  # the mean of equal probabilities need not be exactly each of them

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Suspects:
    """Samples whose labels are probably wrong, and how many are by the estimate.

    Args:
        indices: int64 (M,), the samples, the most suspicious first.
        given: int64 (M,), their labels.
        suggested: int64 (M,), the class that is the most probable.
        scores: float64 (M,), how suspicious, in [0, 1]: 1 less the probability of the given class, or how far the
            suggested one is above it, as they are ranked.
        noise: float64 (K,), the estimated share of wrong labels among those that say each class; 0 for a class that
            nothing is labelled.
        joint: float64 (K, K), the estimated share of all samples with each given (row) and true (column) class.
    """

    indices: Indices
    given: Indices
    suggested: Indices
    scores: Values
    noise: Values
    joint: Values

    def __len__(self) -> int:
        return len(self.indices)


def find_suspects(
    probabilities: Floats, labels: Integers, *, pruning: Pruning = "both", ranking: Ranking = "self_confidence"
) -> Suspects:
    """Finds the samples whose labels are probably wrong.

    Args:
        probabilities: (N, K), rows summing to 1, of a classifier that has not seen the sample's own label.
        labels: (N,), the given classes, 0 to K - 1.
        pruning: which samples. "noise_rate": for each pair of classes as many as the joint says, those first whose
            other class is the furthest above the given one. "self_confidence": for each class as many as the joint
            says, those first whose given class is the least probable. "both": those that are in both. "confident":
            those that are confidently of another class, however many.
        ranking: "self_confidence", by the probability of the given class; "margin", by how far it is below the best.

    Returns:
        The suspects. A sample whose given class is the most probable one is never among them.

    Raises:
        ConfigError: the shapes do not fit, the probabilities are none, or a name is unknown.

    Reference:
        Northcutt, Jiang, Chuang 2021, arXiv:1911.00068, Sec. 3.1 (joint), 3.2 (methods 2 to 5: pruning).

    Deviation:
        Where no sample of a class is confidently of any, all of them count as rightly labelled; the paper divides by
        zero there.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
        >>> found = find_suspects(probabilities, np.array([0, 0, 0, 1, 1]))
        >>> found.indices, found.suggested, found.scores
        (array([2]), array([1]), array([0.9]))
        >>> found.noise.round(2)
        array([0.33, 0.  ])
    """
    check(probabilities, labels)
    _check(probabilities, pruning, ranking)
    values, given = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    counted = confident_joint(values, given)
    joint = calibrated_joint(counted, np.bincount(given, minlength=values.shape[1]))
    chosen = _pruned(values, given, joint, pruning) & (values.argmax(axis=1) != given)
    own = values[np.arange(len(given)), given]
    suspicion = 1 - own if ranking == "self_confidence" else values.max(axis=1) - own
    found = np.flatnonzero(chosen)
    found = found[np.argsort(-suspicion[found], kind="stable")]
    return Suspects(
        indices=found,
        given=given[found],
        suggested=values[found].argmax(axis=1),
        scores=suspicion[found],
        noise=_noise(joint),
        joint=joint,
    )


def class_thresholds(probabilities: Floats, labels: Integers) -> Values:
    """The mean probability that the samples of each class have of it: float64 (K,); infinite for a class without any.

    Args:
        probabilities: (N, K).
        labels: (N,).

    Reference:
        arXiv:1911.00068, Eq. 2.
    """
    values = np.asarray(probabilities, np.float64)
    return np.array(
        [values[labels == label, label].mean() if (labels == label).any() else np.inf
         for label in range(values.shape[1])]
    )  # fmt: skip


def confident_joint(probabilities: Floats, labels: Integers) -> Indices:
    """How many samples of each given class (row) are confidently of each (column).

    A sample is confidently of the most probable one of the classes whose thresholds it reaches; of none, it does not
    count.

    Args:
        probabilities: (N, K).
        labels: (N,).

    Returns:
        int64 (K, K).

    Reference:
        arXiv:1911.00068, Eq. 1.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.3, 0.7]])
        >>> confident_joint(probabilities, np.array([0, 0, 0, 1]))  # thresholds 0.5 and 0.7
        array([[2, 1],
               [0, 1]])
    """
    confident = _confident(np.asarray(probabilities, np.float64), labels)
    is_counted = confident >= 0
    num_classes = probabilities.shape[1]
    return metrics.confusion_matrix(np.asarray(labels)[is_counted], confident[is_counted], num_classes)


def calibrated_joint(counted: Integers, class_counts: Integers) -> Values:
    """The joint distribution of given and true classes: each row as many samples as the class has, all of them 1.

    Args:
        counted: (K, K), of `confident_joint`.
        class_counts: (K,), samples that are given each class.

    Returns:
        float64 (K, K).

    Reference:
        arXiv:1911.00068, Eq. 3.

    Example:
        >>> calibrated_joint(np.array([[2, 2], [0, 1]]), np.array([6, 2]))
        array([[0.375, 0.375],
               [0.   , 0.25 ]])
    """
    rows = np.array(counted, np.float64)
    is_empty = rows.sum(axis=1) == 0
    rows[is_empty, is_empty] = 1
    rows *= (np.asarray(class_counts) / rows.sum(axis=1))[:, None]
    joint: Values = rows / rows.sum()
    return joint


def _confident(values: Values, labels: Integers) -> Indices:
    """The class that each sample is confidently of; -1 for none."""
    reached = values >= class_thresholds(values, labels) - _ROUNDING
    best = np.where(reached, values, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def _pruned(values: Values, given: Indices, joint: Values, pruning: Pruning) -> Chosen:
    """Which samples a method takes: bool (N,)."""
    if pruning == "confident":
        confident = _confident(values, given)
        chosen: Chosen = (confident >= 0) & (confident != given)
        return chosen
    if pruning == "noise_rate":
        return _by_noise_rate(values, given, joint)
    if pruning == "self_confidence":
        return _by_self_confidence(values, given, joint)
    return _by_noise_rate(values, given, joint) & _by_self_confidence(values, given, joint)


def _by_noise_rate(values: Values, given: Indices, joint: Values) -> Chosen:
    """For each pair of classes as many as the joint says, by the margin."""
    chosen = np.zeros(len(given), np.bool_)
    numbers = _rounded(joint * len(given))
    for label, other in zip(*np.nonzero(numbers), strict=True):
        if label != other:
            members = np.flatnonzero(given == label)
            margins = values[members, other] - values[members, label]
            chosen[members[_largest(margins, numbers[label, other])]] = True
    return chosen


def _by_self_confidence(values: Values, given: Indices, joint: Values) -> Chosen:
    """For each class as many as the joint says, by the probability of the given class."""
    chosen = np.zeros(len(given), np.bool_)
    for label, number in enumerate(_rounded((joint.sum(axis=1) - joint.diagonal()) * len(given))):
        members = np.flatnonzero(given == label)
        chosen[members[_largest(-values[members, label], number)]] = True
    return chosen


def _rounded(shares: Values) -> Indices:
    """Whole samples: each share by itself, so that no order of the classes has a part in it."""
    return np.floor(shares + 0.5 + _ROUNDING).astype(np.int64)


def _largest(values: Values, count: int) -> Indices:
    """The places of the largest values; of equal ones the first."""
    return np.argsort(-values, kind="stable")[:count]


def _noise(joint: Values) -> Values:
    """The share off the diagonal in each row; 0 in an empty one."""
    rows = joint.sum(axis=1)
    noise: Values = 1 - np.divide(joint.diagonal(), rows, out=np.ones_like(rows), where=rows > 0)
    return noise


def _check(probabilities: Floats, pruning: Pruning, ranking: Ranking) -> None:
    for name, value, known in (("pruning", pruning, get_args(Pruning)), ("ranking", ranking, get_args(Ranking))):
        if value not in known:
            raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(known)}.")
    sums = np.asarray(probabilities, np.float64).sum(axis=1)
    if not (np.abs(sums - 1) < 1e-3).all() or probabilities.min() < 0:
        row = int(np.argmax(np.where(np.isfinite(sums), np.abs(sums - 1), np.inf)))
        raise ConfigError(
            f"probabilities must be 0 or more and sum to 1 in each row; row {row} sums to {sums[row]:g}. Give those of "
            "a softmax, not logits."
        )
