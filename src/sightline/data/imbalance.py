"""What a picture of each class should count in the loss when some classes have far more pictures than others."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from sightline.errors import ConfigError, nearest

ClassWeighting = Literal["balanced", "effective"]

EFFECTIVE_BETA = 0.9999  # Cui et al. 2019, Sec. 5: of 0.9 to 0.9999 the best on long-tailed CIFAR-10


def class_weights(
    counts: Sequence[int], weighting: ClassWeighting, *, beta: float = EFFECTIVE_BETA
) -> tuple[float, ...]:
    """The weight of each class's pictures in the loss, from how many there are.

    "balanced" weighs a class by 1 / n, n its pictures, so that all classes together count the same. "effective" weighs
    it by (1 - β) / (1 - β^n), 1 over its effective number of pictures: near-duplicates of what is there already add
    little, and the effective number ends at 1 / (1 - β), 10,000 by default. For n under a tenth of that the two are
    equal to 5 %; far over it, all classes weigh alike.

    Both are scaled so that the mean over the training pictures is 1, and the learning rate keeps its meaning. A class
    without training pictures gets 1, the weight of the mean picture: no picture of the training uses it.

    Args:
        counts: training pictures of each class, in the order of the classes.
        weighting: "balanced" or "effective".
        beta: β of "effective", in [0, 1).

    Returns:
        A weight a class, above 0.

    Raises:
        ConfigError: a count is negative, no class has a picture, or another number or name is out of range.

    Reference:
        "balanced": King and Zeng 2001, "Logistic Regression in Rare Events Data"; scikit-learn's class_weight.
        "effective": Cui, Jia, Lin, Song and Belongie 2019, "Class-Balanced Loss Based on Effective Number of Samples",
        arXiv:1901.05555, Proposition 1 and Sec. 4.

    Deviation:
        Cui et al. scale the weights to a sum of K. On a long tail most pictures have the smallest weights, so that the
        mean loss, and with it the step, shrinks with the imbalance.

    Example:
        >>> class_weights([90, 10, 0], "balanced")
        (0.5555555555555556, 5.0, 1.0)
        >>> [round(weight, 3) for weight in class_weights([90_000, 10_000], "effective")]
        [0.945, 1.495]
    """
    if weighting not in get_args(ClassWeighting):
        raise ConfigError(f"there is no class weighting {weighting!r}.{nearest(weighting, get_args(ClassWeighting))}")
    if not 0 <= beta < 1:
        raise ConfigError(f"beta is {beta}; it must be at least 0 and below 1.")
    if any(count < 0 for count in counts) or not any(counts):
        raise ConfigError(
            f"class weights need how many training pictures each class has, 0 or more and not all 0, got {counts}."
        )
    raw = [_raw_weight(count, weighting, beta) if count else 0.0 for count in counts]
    scale = sum(counts) / math.fsum(count * weight for count, weight in zip(counts, raw, strict=True))
    return tuple(weight * scale if count else 1.0 for count, weight in zip(counts, raw, strict=True))


def positive_weights(
    counts: Sequence[int], num_pictures: int, weighting: ClassWeighting, *, beta: float = EFFECTIVE_BETA
) -> tuple[float, ...]:
    """The weight of "yes" for each label, against 1 of "no", where a picture may have several labels.

    It is the ratio of what `class_weights` gives the pictures with the label and those without: with "balanced" (N - n)
    / n, so that yes and no count the same in the loss of each label; with "effective" the ratio of their effective
    numbers. It is the `pos_weight` of torch's BCEWithLogitsLoss. A label that every picture has, or none, gets 1.

    Args:
        counts: training pictures of each label, in the order of the classes.
        num_pictures: of the training.
        weighting: "balanced" or "effective".
        beta: of "effective".

    Returns:
        A weight a label, above 0.

    Raises:
        ConfigError: a count is negative or above the number of pictures, or a number or name is out of range.

    Example:
        >>> positive_weights([10, 50, 0], 100, "balanced")
        (9.0, 1.0, 1.0)
    """
    if any(not 0 <= count <= num_pictures for count in counts):
        raise ConfigError(f"of {num_pictures} pictures, each label has 0 to as many, got {list(counts)}.")
    weights = []
    for count in counts:
        no, yes = class_weights([num_pictures - count, count], weighting, beta=beta)
        weights.append(yes / no if 0 < count < num_pictures else 1.0)
    return tuple(weights)


def _raw_weight(count: int, weighting: ClassWeighting, beta: float) -> float:
    if weighting == "balanced":
        return 1 / count
    if beta == 0:
        return 1.0  # the effective number of any pictures is 1
    return (1 - beta) / -math.expm1(count * math.log(beta))
