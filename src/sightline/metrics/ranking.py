"""From logits to probabilities and to the order of the classes; ties go to the class that comes first."""

import numpy as np
import numpy.typing as npt

from sightline.errors import ConfigError

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


def probabilities(logits: Floats, temperature: float = 1.0) -> npt.NDArray[np.float32]:
    """The softmax of logits divided by a temperature: the numbers that a user sees.

    Computed in float64, so that the only rounding is the last one.

    Args:
        logits: (N, K).
        temperature: positive; 1 changes nothing, more makes the network less sure. The order of the classes stays.

    Returns:
        float32 (N, K); rows add up to 1.

    Raises:
        ConfigError: the temperature is not above 0.

    Reference:
        Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, Eq. 9.

    Example:
        >>> probabilities(np.array([[0.0, np.log(3)]]))
        array([[0.25, 0.75]], dtype=float32)
    """
    result: npt.NDArray[np.float32] = np.exp(_log_softmax(logits, temperature)).astype(np.float32)
    return result


def negative_log_likelihood(logits: Floats, labels: Integers, temperature: float = 1.0) -> float:
    """The mean of -log(probability of the true class), in nats: the cross-entropy loss.

    Args:
        logits: (N, K), N at least 1.
        labels: (N,), 0 to K - 1.
        temperature: as in `probabilities`.

    Raises:
        ConfigError: the shapes do not fit, or the temperature is not above 0.

    Example:
        >>> round(negative_log_likelihood(np.zeros((1, 4)), np.array([2])), 6)  # log 4
        1.386294
    """
    check(logits, labels)
    return float(-_log_softmax(logits, temperature)[np.arange(len(labels)), labels].mean())


def ranking(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """The k best classes of each row, best first; of equal ones the lower index first.

    Args:
        scores: (N, K).
        k: how many; K where it is more.

    Returns:
        int64 (N, min(k, K)).

    Example:
        >>> ranking(np.array([[0.2, 0.4, 0.4]]), 2)
        array([[1, 2]])
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def top_k_correct(scores: Floats, labels: Integers, k: int) -> npt.NDArray[np.bool_]:
    """Whether the true class is among the k best, with the ties of `ranking`.

    Args:
        scores: (N, K).
        labels: (N,), 0 to K - 1.
        k: at least 1.

    Returns:
        bool (N,).

    Raises:
        ConfigError: the shapes do not fit.

    Example:
        >>> top_k_correct(np.array([[0.4, 0.4, 0.2]]), np.array([1]), 1)  # a tie, and class 0 comes first
        array([False])
    """
    check(scores, labels)
    own = scores[np.arange(len(labels)), labels][:, None]
    is_earlier = np.arange(scores.shape[1]) < labels[:, None]
    num_before = ((scores > own) | ((scores == own) & is_earlier)).sum(axis=1)
    result: npt.NDArray[np.bool_] = num_before < k
    return result


def confusion_matrix(labels: Integers, predicted: Integers, num_classes: int) -> npt.NDArray[np.int64]:
    """How often each class was taken for each.

    Args:
        labels: (N,), the true classes.
        predicted: (N,), the answers.
        num_classes: K.

    Returns:
        int64 (K, K): rows true, columns predicted.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        array([[1, 1],
               [0, 1]])
    """
    pairs = np.asarray(labels, np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def check(scores: Floats, labels: Integers) -> None:
    """Refuse scores and labels that do not belong together.

    Raises:
        ConfigError: there is no sample, the shapes do not fit, or a label is out of range.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ConfigError(
            f"scores (N, K) and labels (N,) of at least one sample are needed, got {scores.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ConfigError(f"labels must be 0 to {scores.shape[1] - 1}, got {labels.min()} to {labels.max()}.")


def _log_softmax(logits: Floats, temperature: float) -> npt.NDArray[np.float64]:
    if not temperature > 0:
        raise ConfigError(f"the temperature must be above 0, got {temperature}.")
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return result
