"""Whether stated probabilities can be believed, and the one number that makes them more believable."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.metrics.proportion import Interval, wilson
from sightline.metrics.ranking import Floats, Integers, check

NUM_BINS = 15  # Guo et al. 2017, Table 1
# Not from the paper: beyond these, the validation pictures no longer determine the temperature.
_COLDEST, _HOTTEST = 0.1, 10.0


@dataclass(frozen=True)
class Bin:
    """Pictures whose answers were stated with about the same probability.

    Args:
        lower: of the stated probability, not included (in the first bin it is).
        upper: included.
        count: pictures, at least 1.
        confidence: the mean stated probability of the answers.
        accuracy: the share of right answers, with its interval.
    """

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: Interval


def reliability_bins(probabilities: Floats, labels: Integers, *, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Groups answers by their stated probability, in bins of equal width: the reliability diagram.

    Args:
        probabilities: (N, K).
        labels: (N,), the true classes.
        num_bins: M; bin m holds what was stated above (m - 1) / M and up to m / M.

    Returns:
        The bins that hold pictures.

    Raises:
        ConfigError: the shapes do not fit.

    Reference:
        Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, Sec. 2.

    Example:
        >>> stated = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
        >>> [(each.count, each.accuracy.value) for each in reliability_bins(stated, np.array([0, 1, 0]), num_bins=2)]
        [(3, 0.3333333333333333)]
    """
    check(probabilities, labels)
    answers = probabilities.argmax(axis=1)
    return binned(probabilities[np.arange(len(labels)), answers], answers == labels, num_bins=num_bins)


def binned(stated: Floats, is_right: npt.NDArray[np.bool_], *, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Groups statements of any kind by their probability, as `reliability_bins` does with answers.

    Args:
        stated: (n,), the probability of each.
        is_right: (n,), whether it came true.
        num_bins: M.
    """
    confidence = stated.astype(np.float64)
    edges = np.linspace(0, 1, num_bins + 1)
    numbers = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    bins = []
    for number in np.unique(numbers):
        inside = numbers == number
        bins.append(
            Bin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                count=int(inside.sum()),
                confidence=float(confidence[inside].mean()),
                accuracy=wilson(int(is_right[inside].sum()), int(inside.sum())),
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """By how much the stated probability misses the share of right answers, on average over the pictures.

    Args:
        bins: of `reliability_bins`.

    Reference:
        Naeini, Cooper, Hauskrecht 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI; Guo et
        al. 2017, arXiv:1706.04599, Eq. 3.

    Example:
        >>> expected_calibration_error(reliability_bins(np.array([[0.75, 0.25]]), np.array([0])))
        0.25
    """
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.accuracy.value - each.confidence) for each in bins) / total


def brier_score(probabilities: Floats, labels: Integers) -> float:
    """The squared distance between the stated probabilities and the truth, 0 (sure and right) to 2 (sure and wrong).

    Args:
        probabilities: (N, K).
        labels: (N,), the true classes.

    Raises:
        ConfigError: the shapes do not fit.

    Reference:
        Brier 1950, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 78: summed
        over the classes, the original form; for two classes it is twice the one that looks at one class only.

    Example:
        >>> brier_score(np.array([[0.5, 0.5]]), np.array([0]))
        0.5
    """
    check(probabilities, labels)
    error = np.asarray(probabilities, np.float64).copy()
    error[np.arange(len(labels)), labels] -= 1
    return float((error**2).sum(axis=1).mean())


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """The temperature under which the true classes are the most probable.

    The negative log-likelihood is convex in 1 / T, so its slope is brought to zero by Newton's method inside a bracket
    that shrinks at every step. When every answer is right, any smaller T is better still and the pictures do not say
    where to stop: then it is 1, which leaves the network's own probabilities.

    Args:
        logits: (N, K), of pictures that the network was not trained on.
        labels: (N,), their true classes.

    Returns:
        T, between 0.1 and 10.

    Raises:
        ConfigError: the shapes do not fit.

    Reference:
        Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, Sec. 4.2.

    Example:
        >>> sure = np.array([[3.0, 0.0]] * 4)  # states 95%, and is right 3 times of 4
        >>> round(fit_temperature(sure, np.array([0, 0, 0, 1])), 3)
        2.731
    """
    check(logits, labels)
    scores = np.asarray(logits, np.float64)
    scores = scores - scores[np.arange(len(labels)), labels][:, None]  # the true class is 0 in every row
    if scores.max() <= 0:
        return 1.0
    low, high = 1 / _HOTTEST, 1 / _COLDEST  # of the inverse temperature
    if _slopes(scores, low)[0] >= 0:
        return _HOTTEST
    if _slopes(scores, high)[0] <= 0:
        return _COLDEST
    inverse = 1.0
    while high - low > 1e-9 * low:
        slope, curvature = _slopes(scores, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / curvature if curvature > 0 else low
        if abs(newton - inverse) <= 1e-9 * inverse:
            break
        inverse = newton if low < newton < high else (low + high) / 2
    return 1 / inverse


def _slopes(scores: npt.NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood by the inverse temperature: the mean and the
    variance of the scores under the stated probabilities."""
    scaled = scores * inverse
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean = (weights * scores).sum(axis=1)
    square = (weights * scores**2).sum(axis=1)
    return float(mean.mean()), float((square - mean**2).mean())
