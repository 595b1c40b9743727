"""Average precision: how well one label's probabilities put the pictures that have it before those that do not."""

import numpy as np
import numpy.typing as npt

from sightline.errors import ConfigError
from sightline.metrics.ranking import Floats

Truth = npt.NDArray[np.bool_] | npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]


def average_precision(scores: Floats, truth: Truth) -> float | None:
    """The area under the precision-recall curve, as a sum of steps: Σ (R_n - R_(n-1)) P_n over the distinct scores.

    Pictures of the same score are taken together. Nothing is interpolated, which would flatter.

    Args:
        scores: (N,), how sure of the label.
        truth: (N,), whether each picture has it.

    Returns:
        0 to 1; None where no picture has the label: there is no recall then.

    Raises:
        ConfigError: the shapes do not fit.

    Reference:
        Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 111, Sec. 2.2; the
        sum of steps is scikit-learn's `average_precision_score`.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))  # 1/2 * 1/1 + 1/2 * 2/3
        0.8333333333333333
    """
    if scores.ndim != 1 or scores.shape != truth.shape or not len(scores):
        raise ConfigError(
            f"scores (N,) and truth (N,) of a picture or more are needed, got {scores.shape} and {truth.shape}."
        )
    value = float(weighted(scores, truth, np.ones((1, len(scores))))[0])
    return None if np.isnan(value) else value


def weighted(scores: Floats, truth: Truth, weights: Values) -> Values:
    """The average precision of several weightings of the same pictures, such as the resamples of a bootstrap.

    Args:
        scores: (N,).
        truth: (N,).
        weights: (B, N), how often each picture counts.

    Returns:
        (B,); NaN where no picture that counts has the label.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # the last picture of each score
    counts = weights[:, order]
    found = np.cumsum(counts * (truth[order] > 0), axis=1)[:, ends]
    shown = np.cumsum(counts, axis=1)[:, ends]
    precision = found / np.maximum(shown, 1e-300)  # nothing shown: nothing found, and no step either
    steps = np.diff(found, axis=1, prepend=0)
    total = found[:, -1]
    area = (steps * precision).sum(axis=1)
    areas: Values = np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0)
    return areas
